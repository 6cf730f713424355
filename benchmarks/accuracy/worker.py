"""Runs one job: ``python -m benchmarks.accuracy.worker STUDY JOB``. Goes on with an interrupted one."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from torch import nn

import nncf_slb  # before anything that imports nncf.torch
from benchmarks.accuracy import rivals
from benchmarks.jobs import Job, read_job, write_json
from nncf_slb.strip import float_state_dict
from samples.classification.trainer import Classification, top1
from samples.training import checkpoint
from samples.training.settings import Settings, check

HANDED_ON = "float.pth"  # a searched network with its discrete weights in float, for the next search


class JobTrainer(Classification):
    """The sample's training, with a rival's quantizers where the job names one."""

    def __init__(self, job: Job, settings: Settings) -> None:
        self._rival = job.rival
        super().__init__(settings)

    def _make_network(self) -> nn.Module:
        network = super()._make_network()
        return rivals.insert(network, self._rival) if self._rival and not self.settings.compressed else network

    def _compress(self, state: dict[str, Any] | None) -> None:
        super()._compress(state)  # before the rival, so that the teacher of a distillation is the float network
        if self._rival:
            rivals.insert(self.model, self._rival)


def _weights_of(folder: Path) -> Path:
    """Checkpoint of the network that a job begins from."""
    handed_on = folder / HANDED_ON
    return handed_on if handed_on.exists() else folder / "last.pth"


def make_trainer(job: Job, study: Path, data: Path | None, device: str, workers: int = 0) -> JobTrainer:
    """Trainer of a job, at the last completed epoch of its folder."""
    folder = study / job.name
    last = folder / "last.pth"
    weights = _weights_of(study / job.start) if job.start else None
    settings = Settings(job.config, folder, data, weights, last if last.exists() else None, device, workers)
    check(settings, JobTrainer.task)
    return JobTrainer(job, settings)


def run(job: Job, study: Path, data: Path | None = None, device: str = "cpu", workers: int = 0) -> dict[str, Any]:
    """Train, then measure the network of the last epoch; returns what ``result.json`` holds."""
    started = time.perf_counter()
    trainer = make_trainer(job, study, data, device, workers)
    trainer.fit()
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
    if job.hands_on:
        checkpoint.save({"model": float_state_dict(trainer.ctrl.strip())}, study / job.name / HANDED_ON)
    result["seconds"] = time.perf_counter() - started
    write_json(result, study / job.name / "result.json")
    return result


def sensitivities(start: Job, study: Path, data: Path | None) -> dict[str, dict[int, float]]:
    """How far each inner convolution of a float network, quantized alone, moves its outputs (see `nncf_slb`)."""
    trainer = make_trainer(start, study, data, "cpu")
    found = nncf_slb.measure_sensitivity(trainer.model, trainer.splits.loader("train", 128), candidates=[1, 2, 3, 4])
    _, *others = (name for name, layer in trainer.model.named_modules() if isinstance(layer, nn.Conv2d))
    return {name: found[name] for name in others}


def main(arguments: list[str]) -> int:
    """Entry point: study folder, job name, device, processes that load images, and perhaps the data's folder."""
    study, name, device, workers, *data = arguments
    run(read_job(Path(study) / name), Path(study), Path(data[0]) if data else None, device, int(workers))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
