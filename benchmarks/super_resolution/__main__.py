"""Super-resolution study: run what is lacking, measure the IR files, bring docs/results.md up to date.

python -m benchmarks.super_resolution --work runs/super_resolution_study
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.documents import page_of, write_between_markers
from benchmarks.jobs import Job, write_json
from benchmarks.pool import FailedJobsError, Study, run_jobs
from benchmarks.super_resolution.study import ACTIVATIONS, BITS, RATES, RIVALS, SCALES_OF_WEIGHTS, Runs
from benchmarks.super_resolution.worker import make_trainer
from samples.super_resolution.demo import TIMED_SIZE, export_8_bit
from samples.super_resolution.pairs import make_pair
from samples.super_resolution.pictures import crop_sheet
from samples.super_resolution.recipes import RECIPES
from samples.super_resolution.report import Quality, Report, Row, bicubic, in_openvino, timed
from samples.training.machine import machine

Results = dict[str, dict[str, Any]]
DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = Path(__file__).resolve().parent / "results"
# Largest loss against the float network that is asked of a pair of bits, in dB.
ALLOWED_LOSS = {(4, 8): 0.05, (2, 8): 0.15, (1, 8): 0.4}


def _best(makers: list[Job], done: Results) -> Job:
    return max(makers, key=lambda job: done[job.name]["val_psnr"])


def run_all(runs: Runs, study: Study) -> tuple[list[Job], Results, dict[str, float]]:
    """All runs of the table; learning rates of the others are chosen by validation before they see the test part.

    Returns:
        Runs of the table, results by name, and validation PSNR by setting of the weights' scale.
    """
    start = runs.float_start()
    searches = [runs.search(bits, activations) for activations in ACTIVATIONS for bits in BITS]
    other = [job for _, _, job in _by_scale(runs)]
    tried = {"float": [runs.float_more(rate, False) for rate in RATES]}
    tried |= {name: [runs.rival(name, rate, False) for rate in RATES] for name in RIVALS}
    done = run_jobs([start, *searches, *other, *(job for jobs in tried.values() for job in jobs)], study)
    chosen = {name: RATES[jobs.index(_best(jobs, done))] for name, jobs in tried.items()}
    final = [runs.float_more(chosen["float"], True), *(runs.rival(name, chosen[name], True) for name in RIVALS)]
    done |= run_jobs([start, *final], study)
    scales = {f"W{b}: {s}": done[job.name]["val_psnr"] for b, s, job in _by_scale(runs)}
    return [start, *final, *searches], done, scales


def _by_scale(runs: Runs) -> list[tuple[int, str, Job]]:
    """The runs of each setting of the weights' scale; the shipped one is `per_channel`."""
    return [
        (bits, scale, runs.search(bits, 32, None if scale == "per_channel" else {"scale": scale}))
        for bits in BITS
        for scale in SCALES_OF_WEIGHTS
    ]


def _name(job: Job) -> str:
    labels = job.labels
    if labels["method"].startswith("float"):
        return f"{labels['method']}, PyTorch"
    rate = f" (Adam {labels['rate']:g})" if "rate" in labels else ""
    return f"{labels['method']} W{labels['weights']}A{labels['activations']}{rate}, PyTorch"


def measure(runs: Runs, jobs: list[Job], done: Results, study: Study) -> Report:
    """The table: PyTorch's rows, then the IR files with size and speed."""
    trainer = make_trainer(jobs[0], study.folder, study.data)
    pairs = [make_pair(o, runs.scale, trainer.config["channels"]) for o in trainer.splits.originals["test"]]
    rows = [bicubic(pairs, runs.scale)]
    rows += [Row(_name(job), _qualities(done[job.name])) for job in jobs]
    start = study.folder / jobs[0].name
    eight = export_8_bit(trainer, start / "model.xml", start / "nncf_8_bit.xml")
    searches = [job for job in jobs if job.labels["method"] == "slb"]
    irs = [("float, IR", start / "model.xml"), ("8 bits (NNCF), IR", eight)]
    irs += [(_name(job).replace("PyTorch", "IR"), study.folder / job.name / "model.xml") for job in searches]
    shape = [1, trainer.config["channels"], TIMED_SIZE, TIMED_SIZE]
    rows += timed([(name, path, in_openvino(path, pairs, runs.scale)) for name, path in irs], shape)
    eight_bits = [("float", irs[0][1]), *((f"W{bits}A8", _ir(runs, study, bits)) for bits in reversed(BITS))]
    crop_sheet(trainer.splits.originals["test"], eight_bits, runs.scale, DOCS / f"images/{runs.key}.png")
    report = Report(f"{runs.model}, scale {runs.scale}", rows)
    report.notes = [*_goals(rows), "", f"Measured on {machine()}, {date.today()}."]
    return report


def _qualities(result: dict[str, Any]) -> dict[str, Quality]:
    return {name: (psnr, ssim) for name, (psnr, ssim) in result["test_qualities"].items()}


def _ir(runs: Runs, study: Study, bits: int) -> Path:
    return study.folder / runs.search(bits, 8).name / "model.xml"


def _goals(rows: list[Row]) -> list[str]:
    """What each 8-bit search loses against both float networks, its throughput beside float's and 8 bits'."""
    by_name = {row.network: row for row in rows}
    start, trained_on = (by_name[f"{name}, PyTorch"].mean[0] for name in ("float", "float, trained on"))
    eight = by_name["8 bits (NNCF), IR"].throughput_ratio
    lines = []
    for (bits, activations), allowed in ALLOWED_LOSS.items():
        ours = by_name[f"slb W{bits}A{activations}, IR"]
        assert ours.throughput_ratio and eight
        psnr = ours.mean[0]
        lines.append(
            f"- W{bits}A{activations}: {psnr - start:+.3f} dB against the float network that it starts from, and "
            f"{psnr - trained_on:+.3f} against that network trained on (wanted: -{allowed}). "
            f"{ours.throughput_ratio:.2f} times float's images/s (wanted: 3), and {ours.throughput_ratio / eight:.2f} "
            "times those of 8 bits (wanted: 0.98)."
        )
    return lines


def scale_table(scales: dict[str, float]) -> str:
    """Validation PSNR in dB by bits and setting of the weights' scale, as Markdown."""
    header = ["", *SCALES_OF_WEIGHTS]
    lines = [[f"W{b}", *(f"{scales[f'W{b}: {s}']:.2f}" for s in SCALES_OF_WEIGHTS)] for b in BITS]
    table = [f"| {' | '.join(header)} |", "|---" + "|---:" * len(SCALES_OF_WEIGHTS) + "|"]
    return "\n".join([*table, *(f"| {' | '.join(cells)} |" for cells in lines)])


def main(argv: list[str] | None = None) -> int:
    """Entry point; the same command continues what an interrupted one left."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.super_resolution", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--work", type=Path, default=Path("runs/super_resolution_study"), help="folder of all runs")
    parser.add_argument("--model", default="espcn", help="network of samples/super_resolution/recipes.py")
    parser.add_argument("--scale", type=int, default=2, choices=(2, 3, 4))
    parser.add_argument("--data", type=Path, help="folder of training images instead of photographs of packages")
    parser.add_argument("--test-data", type=Path, nargs="+", default=[], help="folders of test images")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args(argv)
    if arguments.model not in RECIPES.starts:
        known = ", ".join(sorted(RECIPES.starts))
        parser.error(f"--model: received '{arguments.model}'; allowed: {known}")
    runs = Runs(arguments.model, arguments.scale, data=arguments.data, test_data=tuple(arguments.test_data))
    study = Study(
        arguments.work, arguments.data, arguments.device, arguments.processes,
        worker="benchmarks.super_resolution.worker",
    )  # fmt: skip
    page = page_of(runs.key, [f"{runs.key} table", f"{runs.key} scales"], DOCS)
    try:
        jobs, done, scales = run_all(runs, study)
    except FailedJobsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the same command continues each run after its last completed epoch.", file=sys.stderr)
        return 130
    report = measure(runs, jobs, done, study)
    write_json(done, RESULTS / f"{runs.key}.json")
    picture = f"![The same crops, enlarged in every way](images/{runs.key}.png)"
    text = "\n".join([picture, "", report.markdown(), "", *report.notes])
    write_between_markers(page, f"{runs.key} table", text)
    write_between_markers(page, f"{runs.key} scales", scale_table(scales))
    return 0


if __name__ == "__main__":
    sys.exit(main())
