"""Runs one job of the study: ``python -m benchmarks.super_resolution.worker STUDY JOB DEVICE WORKERS [DATA]``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from torch import nn

import nncf_slb  # before anything that imports nncf.torch
from benchmarks.accuracy import rivals
from benchmarks.jobs import Job, write_json
from benchmarks.super_resolution.study import NOT_SEARCHED
from benchmarks.worker import job_settings, main
from samples.super_resolution.demo import qualities
from samples.super_resolution.trainer import SuperResolution
from samples.training.settings import Settings


class JobTrainer(SuperResolution):
    """The sample's training, with a rival's quantizers where the job names one."""

    def __init__(self, job: Job, settings: Settings) -> None:
        self._rival = job.rival
        super().__init__(settings)

    def make_network(self) -> nn.Module:
        """The float network, with a rival's quantizers."""
        network = super().make_network()
        return rivals.insert(network, self._rival, NOT_SEARCHED) if self._rival else network


def make_trainer(job: Job, study: Path, data: Path | None = None, device: str = "cpu", workers: int = 0) -> JobTrainer:
    """Trainer of a job, at the last completed epoch of its folder."""
    return JobTrainer(job, job_settings(job, JobTrainer.task, study, data, device, workers))


def run(job: Job, study: Path, data: Path | None = None, device: str = "cpu", workers: int = 0) -> dict[str, Any]:
    """Train, measure the network of the last epoch, export what can be; returns what ``result.json`` holds."""
    started = time.perf_counter()
    trainer = make_trainer(job, study, data, device, workers)
    trainer.fit()
    validation = trainer.splits.loader("val", 1)
    result: dict[str, Any] = {"labels": job.labels, "val_psnr": trainer.evaluate(validation)}
    if trainer.ctrl and getattr(trainer.ctrl.statistics(), "slb", None):
        with nncf_slb.searched_network(trainer.ctrl):
            result["searched_val_psnr"] = trainer.evaluate(validation)
    if job.test:
        result["test_qualities"] = qualities(trainer)
        if job.labels["method"] in ("slb", "float"):
            trainer.export(study / job.name / "model.xml")
    result["seconds"] = time.perf_counter() - started
    write_json(result, study / job.name / "result.json")
    return result


if __name__ == "__main__":
    sys.exit(main(run, sys.argv[1:]))
