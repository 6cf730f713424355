"""Results of runs as flat rows, and means over seeds: what the CSV files hold and the tables show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.jobs import Job

RESULTS = Path(__file__).resolve().parent / "results"
# Columns of a CSV file; one row is one run. Accuracies are top-1 in per cent, losses cross-entropy in nats, `curve` is
# validation top-1 by epoch.
COLUMNS = (
    "method", "setting", "weights", "activations", "start", "seed", "optimizer", "learning_rate", "epochs", "val_top1",
    "val_loss", "searched_val_top1", "test_top1", "searched_test_top1", "mean_bits", "bytes", "curve",
)  # fmt: skip


def epochs(job: Job, study: Path) -> list[dict[str, Any]]:
    """What a run logged after each epoch."""
    return [json.loads(line) for line in (study / job.name / "metrics.jsonl").read_text().splitlines()]


def row(job: Job, result: dict[str, Any], study: Path) -> dict[str, Any]:
    """One run as a row of a CSV file."""
    labels = dict(job.labels)
    optimizer, rate = labels.pop("rate", (job.config["optimizer"]["type"], job.config["optimizer"]["base_lr"]))
    curve = " ".join(f"{epoch['val_top1']:.2f}" for epoch in epochs(job, study))
    values = {**labels, **result, "optimizer": optimizer, "learning_rate": rate, "epochs": job.config["epochs"]}
    return {name: values.get(name) for name in COLUMNS[:-1]} | {"curve": curve}


def frame(jobs: list[Job], results: dict[str, dict[str, Any]], study: Path) -> pd.DataFrame:
    """Rows of all jobs that have a result."""
    rows = [row(job, results[job.name], study) for job in jobs if job.name in results and not job.hands_on]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def save(table: pd.DataFrame, name: str) -> Path:
    """Write a CSV file beside this module, accuracies with two decimals."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    table.to_csv(path, index=False, float_format="%.6g")
    return path


def load(*names: str) -> pd.DataFrame:
    """Rows that `save` wrote, of all tables together; an empty frame if there are none yet."""
    paths = [RESULTS / f"{name}.csv" for name in names]
    found = [pd.read_csv(path) for path in paths if path.exists()]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))


def mean_and_deviation(values: pd.Series) -> str:
    """``91.70 ± 0.12``; the deviation is that of the sample (n - 1), missing for one run."""
    values = values.dropna()
    if values.empty:
        return ""
    return f"{values.mean():.2f}" + (f" ± {values.std():.2f}" if len(values) > 1 else "")


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Table whose first column is text and whose others are numbers."""
    lines = [f"| {' | '.join(header)} |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in rows)])
