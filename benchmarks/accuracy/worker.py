"""Runs one job: ``python -m benchmarks.accuracy.worker STUDY JOB DEVICE WORKERS [DATA]``, from where it stopped."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

import nncf_slb  # before anything that imports nncf.torch
from benchmarks.accuracy import rivals
from benchmarks.jobs import Job, write_json
from benchmarks.worker import job_settings, main
from nncf_slb.search.batchnorm import calibrate
from samples.classification.trainer import Classification, top1
from samples.training.settings import Settings

CALIBRATION_BATCHES = 20  # as many as `slb` takes unless its config says otherwise


class JobTrainer(Classification):
    """The sample's training, with a rival's quantizers where the job names one."""

    def __init__(self, job: Job, settings: Settings) -> None:
        self._rival = job.rival
        super().__init__(settings)

    def make_network(self) -> nn.Module:
        """The float network, with a rival's quantizers where there is no search."""
        network = super().make_network()
        return rivals.insert(network, self._rival) if self._rival and not self.settings.compressed else network

    def _compress(self, state: dict[str, Any] | None) -> None:
        super()._compress(state)  # before the rival, so that the teacher of a distillation is the float network
        if self._rival:
            rivals.insert(self.model, self._rival)


def make_trainer(job: Job, study: Path, data: Path | None, device: str, workers: int = 0) -> JobTrainer:
    """Trainer of a job, at the last completed epoch of its folder."""
    return JobTrainer(job, job_settings(job, JobTrainer.task, study, data, device, workers))


def run(job: Job, study: Path, data: Path | None = None, device: str = "cpu", workers: int = 0) -> dict[str, Any]:
    """Train, then measure the network of the last epoch; returns what ``result.json`` holds."""
    started = time.perf_counter()
    trainer = make_trainer(job, study, data, device, workers)
    trainer.fit()
    if job.is_rival:
        _calibrate(trainer)
    searches = trainer.ctrl and getattr(trainer.ctrl.statistics(), "slb", None)
    result: dict[str, Any] = {"labels": job.labels}
    if searches:
        result |= {"mean_bits": searches.mean_bits, "bytes": searches.bytes}
    for part in ("val", "test") if job.test else ("val",):
        logits, labels = trainer.predict(trainer.splits.loader(part, 1000))
        result[f"{part}_top1"] = top1(logits, labels)
        result[f"{part}_loss"] = float(nn.functional.cross_entropy(logits, labels))
        if searches:
            with nncf_slb.searched_network(trainer.ctrl):
                result[f"searched_{part}_top1"] = trainer.evaluate(trainer.splits.loader(part, 1000))
    if job.rival:
        with rivals.averaged(trainer.model):
            _calibrate(trainer)
            for part in ("val", "test") if job.test else ("val",):
                result[f"averaged_{part}_top1"] = trainer.evaluate(trainer.splits.loader(part, 1000))
    result["seconds"] = time.perf_counter() - started
    write_json(result, study / job.name / "result.json")
    return result


def _calibrate(trainer: JobTrainer) -> None:
    """Give a rival what `slb` does before each evaluation: batch norm statistics of the weights as they are now.

    Running statistics lag behind 1-bit weights that change their sign.
    """
    batches = trainer.splits.loader("train", trainer.settings.config["batch_size"])
    device = next(trainer.model.parameters()).device
    calibrate(trainer.model, lambda batch: trainer.model(batch[0].to(device)), islice(batches, CALIBRATION_BATCHES))


def sensitivities(start: Job, study: Path, data: Path | None) -> dict[str, dict[int, float]]:
    """How far each inner convolution of a float network, quantized alone, moves its outputs (see `nncf_slb`)."""
    trainer = make_trainer(start, study, data, "cpu")
    found = nncf_slb.measure_sensitivity(trainer.model, trainer.splits.loader("train", 128), candidates=[1, 2, 3, 4])
    _, *others = (name for name, layer in trainer.model.named_modules() if isinstance(layer, nn.Conv2d))
    return {name: found[name] for name in others}


if __name__ == "__main__":
    sys.exit(main(run, sys.argv[1:]))
