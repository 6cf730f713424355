"""From a float network to the report of a low-bit IR: what `digits` and `fashion_mnist` share."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

from samples.classification.recipes import RECIPES
from samples.classification.trainer import Classification
from samples.training.config import Config
from samples.training.machine import machine
from samples.training.measuring import measure_file
from samples.training.progress import console
from samples.training.reporting import show_report
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
        Path of the report.
    """
    started = time.perf_counter()
    console.print(f"1/3  float network ({float_name})", highlight=False)
    float_dir, search_dir = log_dir / "float", log_dir / "slb"
    best_float = fit(float_name, float_dir, data)
    console.print(f"2/3  search from it ({search_name})", highlight=False)
    best_search = fit(search_name, search_dir, data, weights=best_float)
    console.print("3/3  export, OpenVINO", highlight=False)
    searched = trainer(search_name, search_dir, data, weights=best_float, resume=best_search)
    searched.show_test()
    measure_file(searched, searched.export(log_dir / "low_bit.xml"))
    report = show_report(search_dir, log_dir / "report.html")
    console.print(
        f"{log_dir}/: low_bit.xml, report.html; checkpoints and TensorBoard logs in float/, slb/. "
        f"{machine()}, {date.today()}, {time.perf_counter() - started:.0f} s in all", highlight=False, soft_wrap=True,
    )  # fmt: skip
    return report


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


def run_from_terminal(float_name: str, search_name: str, log_dir: Path, data: Path | None = None) -> int:
    """`run_demo` for a terminal; returns the exit status."""
    return exit_status(lambda: run_demo(float_name, search_name, log_dir, data))
