"""Results of runs as flat rows, and means over seeds: what the CSV files hold and the tables show."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.jobs import Job, result_of
from nncf_slb.files import new_file
from nncf_slb.tables import markdown_table

RESULTS = Path(__file__).resolve().parent / "results"
# Columns of a CSV file; one row is one run. Accuracies are top-1 in per cent, losses cross-entropy in nats, `curve` is
# validation top-1 by epoch, `averaged` a rival with the mean of its float weights, `settings` tells whether a job is
# the one that the row was made by.
COLUMNS = (
    "method", "setting", "weights", "activations", "start", "seed", "optimizer", "learning_rate", "epochs", "val_top1",
    "val_loss", "searched_val_top1", "averaged_val_top1", "test_top1", "searched_test_top1", "averaged_test_top1",
    "mean_bits", "bytes", "settings", "curve",
)  # fmt: skip


def epochs(job: Job, study: Path) -> list[dict[str, Any]]:
    """What a run logged after each epoch."""
    return [json.loads(line) for line in (study / job.name / "metrics.jsonl").read_text().splitlines()]


def settings_of(job: Job) -> str:
    """Digest of what decides what a run learns and how it is measured; of the network that it begins from, the name."""
    measured = ["calibrated batch norm"] if job.is_rival else []
    content = json.dumps([job.config, job.start, job.rival, *measured], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def row(job: Job, result: dict[str, Any], study: Path) -> dict[str, Any]:
    """One run as a row of a CSV file."""
    labels = dict(job.labels)
    optimizer, rate = labels.pop("rate", (job.config["optimizer"]["type"], job.config["optimizer"]["base_lr"]))
    curve = " ".join(f"{epoch['val_top1']:.2f}" for epoch in epochs(job, study))
    values = {**labels, **result, "optimizer": optimizer, "learning_rate": rate, "epochs": job.config["epochs"]}
    values["settings"] = settings_of(job)
    return {name: values.get(name) for name in COLUMNS[:-1]} | {"curve": curve}


def recorded(jobs: list[Job], table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows by job name, of the jobs that a table has with the same settings and all that they ask for."""
    by_settings = {made["settings"]: made for made in table.to_dict("records")}
    pairs = ((job, by_settings.get(settings_of(job))) for job in jobs)
    return {job.name: made for job, made in pairs if made and (_tested(made) or not job.test)}


def rows(jobs: list[Job], study: Path, table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows by job name, of all jobs that a study's folder or a table has; those with test results go first."""
    known = recorded([replace(job, test=False) for job in jobs], table)
    found: dict[str, dict[str, Any]] = {}
    for job in jobs:
        result = result_of(replace(job, test=False), study)
        both = [known.get(job.name), result and row(job, result, study)]
        made = sorted(filter(None, both), key=_tested)
        if made:
            found[job.name] = made[-1]
    return found


def _tested(made: dict[str, Any]) -> bool:
    return bool(pd.notna(made["test_top1"]))


def save(rows: list[dict[str, Any]], name: str) -> Path:
    """Write a CSV file beside this module."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    with new_file(path) as partial:
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(partial, index=False, float_format="%.6g")
    return path


def load(*names: str) -> pd.DataFrame:
    """Rows that `save` wrote, of all tables together; an empty frame if there are none yet."""
    paths = [RESULTS / f"{name}.csv" for name in names]
    found = [pd.read_csv(path, dtype={"settings": str, "curve": str}) for path in paths if path.exists()]
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    return table.reindex(columns=list(COLUMNS))  # tables of earlier runs may lack one


def chosen_runs(table: pd.DataFrame, method: str, pair: tuple[int, int]) -> pd.DataFrame:
    """Runs of a method that used the test set, with the optimizer that validation prefers for the first seed."""
    at = (table["method"] == method) & (table["weights"] == pair[0]) & (table["activations"] == pair[1])
    runs = table[at & table["test_top1"].notna()]
    if runs.empty:
        return runs
    best = runs[runs["seed"] == runs["seed"].min()].sort_values("val_top1").iloc[-1]
    return runs[(runs["optimizer"] == best["optimizer"]) & (runs["learning_rate"] == best["learning_rate"])]


def mean_and_deviation(values: pd.Series) -> str:
    """``91.70 ± 0.12``; the deviation is that of the sample (n - 1), missing for one run."""
    values = values.dropna()
    if values.empty:
        return ""
    return f"{values.mean():.2f}" + (f" ± {values.std():.2f}" if len(values) > 1 else "")


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Table whose first column is text and whose others are numbers."""
    return markdown_table(header, rows, "l" + "r" * (len(header) - 1))
