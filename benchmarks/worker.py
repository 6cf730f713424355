"""What the workers of all studies share: a job as settings of a sample's training, and their command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.jobs import Job, read_job
from samples.training.settings import Settings, Task, check


def job_settings(job: Job, task: Task, study: Path, data: Path | None, device: str, workers: int) -> Settings:
    """Checked settings of a job, which continues after the last completed epoch of its folder."""
    folder = study / job.name
    last = folder / "last.pth"
    weights = study / job.start / "last.pth" if job.start else None
    settings = Settings(job.config, folder, data, weights, last if last.exists() else None, device, workers)
    check(settings, task)
    return settings


def main(run: Callable[[Job, Path, Path | None, str, int], Any], arguments: list[str]) -> int:
    """Run a job from a worker's arguments: STUDY JOB DEVICE WORKERS [DATA].

    Args:
        run: Takes job, folder of the study, folder of the data, device, and number of processes that load images.
        arguments: Of the command line.
    """
    study, name, device, workers, *data = arguments
    run(read_job(Path(study) / name), Path(study), Path(data[0]) if data else None, device, int(workers))
    return 0
