"""Digits: a float network, then its weights in 4, 2 and 1 bits by a search without labels; one page, one picture."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only, no window

import matplotlib.pyplot as plt
import torch

import nncf_slb
from nncf_slb.files import new_file
from nncf_slb.reports.page import write_report
from nncf_slb.tables import terminal_table
from samples.classification.demo import fit, trainer
from samples.classification.recipes import RECIPES
from samples.training.machine import machine
from samples.training.progress import console
from samples.training.terminal import exit_status

# A narrow network: one that digits hardly fill would lose nothing by rounding.
_FLOAT = {**RECIPES["digits_net_digits_float"], "model_params": {"width": 0.25}}
_BITS = (4, 2, 1)
_HEADER = ["network", "test accuracy, %", "nearest values, %", ".bin bytes", "times smaller", "ms / image"]


@dataclass(frozen=True)
class _Result:
    """One file: accuracy on the test images, that of nearest values without a search, and the search."""

    name: str
    path: Path
    accuracy: float
    nearest: float | None
    found: nncf_slb.PostTraining | None = None

    @property
    def bytes(self) -> int:
        return self.path.with_suffix(".bin").stat().st_size


def run_quickstart(log_dir: Path) -> Path:
    """Train, search, export, compare.

    Args:
        log_dir: Folder of everything that is written.

    Returns:
        Path of the report; a picture lies beside it.
    """
    started = time.perf_counter()
    console.print("1/2  a float network, trained with labels", highlight=False)
    reference = trainer(_FLOAT, log_dir / "float", None, weights=fit(_FLOAT, log_dir / "float", None))
    test_images, labels = (torch.cat(parts) for parts in zip(*reference.test_batches(), strict=True))
    unlabeled = torch.cat([images for images, _ in reference.train_batches])

    @torch.no_grad()
    def accuracy(network: object) -> float:
        return 100 * float((network(test_images).argmax(1) == labels).double().mean())  # type: ignore[operator]

    reference.model.eval()
    results = [_Result("float", reference.export(log_dir / "float.xml"), accuracy(reference.model), None)]
    for bits in _BITS:
        console.print(f"2/2  {bits}-bit weights, from {len(unlabeled)} images without labels", highlight=False)
        found = nncf_slb.search_post_training(
            reference.model, unlabeled, bits=bits, score=accuracy, log_dir=log_dir / f"w{bits}"
        )
        path = found.export(log_dir / f"w{bits}.xml", example_input=unlabeled[:1])
        scores = {row.name: row.score for row in found.rows}
        name = f"{bits} bit{'s' if bits > 1 else ''}"
        results.append(_Result(name, path, float(scores[path.name] or 0), scores["nearest"], found))
    latencies = _median_latencies(results)
    report = write_report([log_dir / f"w{bits}" for bits in _BITS], log_dir / "report.html")
    _show(results, latencies, log_dir, time.perf_counter() - started)
    _draw(results, log_dir / "results.png")
    return report


def _median_latencies(results: list[_Result]) -> list[float]:
    """Median milliseconds of one image, measured in turns, floating point in float32; recorded for the report."""
    paths = [result.path for result in results]
    compared = nncf_slb.benchmark_openvino(paths, rounds=200, properties={"INFERENCE_PRECISION_HINT": "f32"})
    full, *low = latencies = [timing.latency.median for timing in compared.timings]
    for result, milliseconds in zip(results[1:], low, strict=True):
        assert result.found is not None
        result.found.record_latency("float", full)
        result.found.record_latency(result.path.name, milliseconds)
    return latencies


def _show(results: list[_Result], latencies: list[float], folder: Path, seconds: float) -> None:
    full = results[0].bytes
    rows = [
        [
            result.name, f"{result.accuracy:.2f}", "" if result.nearest is None else f"{result.nearest:.2f}",
            f"{result.bytes:,}", f"{full / result.bytes:.1f}", f"{latency:.3f}",
        ]
        for result, latency in zip(results, latencies, strict=True)
    ]  # fmt: skip
    notes = [
        "accuracy: of the files, loaded in OpenVINO; one digit is 0.28 points",
        "nearest values: rounded without a search",
        "first and last layer in 8 bits; inputs in 32 bits, with which the kernels are those of the float network",
        f"files, report and picture: {folder}/ (w2.xml, report.html, results.png, ...)",
        f"{machine()}, {date.today()}, {seconds:.0f} s in all",
    ]
    console.print(terminal_table(_HEADER, rows, "lrrrrr"), highlight=False, soft_wrap=True, markup=False)
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True, markup=False)


def _draw(results: list[_Result], file: Path) -> None:
    """Accuracy over bytes, with and without a search."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    full, *low = results
    sizes = [result.bytes / 1000 for result in low]
    axes.axhline(full.accuracy, color="0.6", linewidth=1)
    axes.plot(full.bytes / 1000, full.accuracy, "s", color="0.3", label="float")
    axes.plot(sizes, [result.accuracy for result in low], "o-", color="tab:blue", label="searched without labels")
    axes.plot(sizes, [result.nearest or 0 for result in low], "o--", color="tab:orange", label="nearest values")
    for result, size in zip(low, sizes, strict=True):
        above = max(result.accuracy, result.nearest or 0)
        axes.annotate(result.name, (size, above), xytext=(0, 8), textcoords="offset points", ha="center")
    axes.set_xscale("log")
    axes.set_xticks([full.bytes / 1000, *sizes], [f"{size:.1f}" for size in (full.bytes / 1000, *sizes)])
    axes.minorticks_off()
    axes.set_xlabel("size of the .bin file, kB (logarithmic)")
    axes.set_ylabel("accuracy on 359 test digits, %")
    axes.set_ylim(top=101)
    axes.legend(loc="lower right")
    with new_file(file) as partial:
        figure.savefig(partial, dpi=120)
    plt.close(figure)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log-dir", type=Path, default=Path("runs/quickstart"))
    log_dir = parser.parse_args().log_dir
    return exit_status(lambda: run_quickstart(log_dir))


if __name__ == "__main__":
    sys.exit(main())
