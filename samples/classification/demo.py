"""From a float network to a reported low-bit IR: what `digits` and `fashion_mnist` share."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import nncf_slb
from samples.classification.recipes import RECIPES
from samples.classification.report import (
    Row,
    differing_classes,
    median_latencies,
    predict_with_ir,
    show,
)
from samples.classification.trainer import Classification, top1
from samples.training.config import Config
from samples.training.machine import machine
from samples.training.progress import console
from samples.training.settings import Settings, check
from samples.training.terminal import exit_status


def run_demo(float_name: str, search_name: str, log_dir: Path, data: Path | None = None) -> Path:
    """Train, search, export, compare.

    Args:
        float_name: Recipe of the float network.
        search_name: Recipe of the search.
        log_dir: Folder of everything that is written.
        data: Folder of the data set, if it needs one.

    Returns:
        Path of the Markdown table.
    """
    started = time.perf_counter()
    console.print(f"1/3  float network ({float_name})", highlight=False)
    float_dir, search_dir = log_dir / "float", log_dir / "slb"
    best_float = fit(float_name, float_dir, data)
    console.print(f"2/3  search from it ({search_name})", highlight=False)
    best_search = fit(search_name, search_dir, data, weights=best_float)
    console.print("3/3  export, OpenVINO", highlight=False)
    reference = trainer(float_name, float_dir, data, weights=best_float)
    searched = trainer(search_name, search_dir, data, resume=best_search)
    rows, notes = _compare(reference, searched, log_dir)
    notes.append(
        f"artefacts: {log_dir}/ (float.xml, low_bit.xml, results.md; checkpoints and TensorBoard logs in float/, slb/)"
    )
    notes.append(f"{machine()}, {date.today()}, {time.perf_counter() - started:.0f} s in all")
    table = log_dir / "results.md"
    show(f"{search_name}: test set of {reference.config['dataset']}", rows, notes, table)
    return table


def trainer(
    recipe: str | Config, log_dir: Path, data: Path | None, weights: Path | None = None, resume: Path | None = None
) -> Classification:
    """A run of a recipe, or of a whole config."""
    config = RECIPES[recipe] if isinstance(recipe, str) else recipe
    settings = Settings(config, log_dir, data, weights, resume)
    check(settings, Classification.task)
    return Classification(settings)


def fit(recipe: str | Config, log_dir: Path, data: Path | None, weights: Path | None = None) -> Path:
    """Train, or go on with a run that was interrupted."""
    last = log_dir / "last.pth"
    return trainer(recipe, log_dir, data, weights, last if last.exists() else None).fit()


def _compare(reference: Classification, searched: Classification, log_dir: Path) -> tuple[list[Row], list[str]]:
    float_ir, low_ir = reference.export(log_dir / "float.xml"), searched.export(log_dir / "low_bit.xml")
    labels = reference.predict(reference.test_batches())[1]
    float_top1, discrete = reference.test(), searched.predict(searched.test_batches())[0]
    with nncf_slb.searched_network(searched.ctrl):
        expected_top1 = searched.test()
    batches = searched.test_batches()
    float_logits = predict_with_ir(float_ir, batches, len(batches))
    low_logits = predict_with_ir(low_ir, batches, len(batches))
    latencies = median_latencies([float_ir, low_ir])
    sizes = [path.with_suffix(".bin").stat().st_size for path in (float_ir, low_ir)]
    rows = [
        Row("float, PyTorch", float_top1),
        Row("float, OpenVINO IR", top1(float_logits, labels), sizes[0], latencies[0]),
        Row("searched (expected weights), PyTorch", expected_top1),
        Row("discrete, PyTorch", top1(discrete, labels)),
        Row("low-bit, OpenVINO IR", top1(low_logits, labels), sizes[1], latencies[1]),
    ]
    differing = differing_classes(low_logits, discrete)
    notes = [
        f".bin {sizes[0] / sizes[1]:.1f} times smaller; latency float / low-bit {latencies[0] / latencies[1]:.2f}",
        f"IR and PyTorch predict different classes on {differing} of {len(labels)} test images (ties of 1e-4 aside)",
        searched.ctrl.statistics().slb.to_str(),
    ]
    return rows, notes


def run_from_terminal(float_name: str, search_name: str, log_dir: Path, data: Path | None = None) -> int:
    """`run_demo` for a terminal; returns the exit status."""
    return exit_status(lambda: run_demo(float_name, search_name, log_dir, data))
