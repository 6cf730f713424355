"""Runs jobs as processes of one thread each: on few cores that takes half the time of one process with all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.jobs import Job, prepare, result_of


class FailedJobsError(RuntimeError):
    """Jobs that ended with an error; the message names their logs."""


class MissingEnvironmentError(RuntimeError):
    """The rivals' own Python is not there; the message says how to make it."""


@dataclass(frozen=True)
class Study:
    """Where and how jobs run.

    Attributes:
        folder: Folder of all runs.
        data: Folder of the data set; None for its usual place.
        device: ``cpu`` or ``cuda``.
        processes: Jobs at a time.
        rivals_python: Python of the rivals' environment (`make .venv-rivals/.installed`).
        worker: Module that runs one job: ``python -m WORKER STUDY JOB DEVICE WORKERS [DATA]``.
        workers: Processes that load images for each job.
    """

    folder: Path
    data: Path | None = None
    device: str = "cpu"
    processes: int = 2
    rivals_python: Path = Path(".venv-rivals/bin/python")
    worker: str = "benchmarks.accuracy.worker"
    workers: int = 0

    def command(self, job: Job) -> list[str]:
        """Command line of a job's worker."""
        python = str(self.rivals_python) if job.needs_brevitas else sys.executable
        data = [str(self.data)] if self.data else []
        return [python, "-m", self.worker, str(self.folder), job.name, self.device, str(self.workers), *data]


@dataclass
class _Running:
    """Processes by job, and what became of the ended ones."""

    study: Study
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    failed: list[Path] = field(default_factory=list)

    def start(self, job: Job) -> None:
        folder = prepare(job, self.study.folder)
        with (folder / "log.txt").open("ab") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.processes[job.name] = subprocess.Popen(
                self.study.command(job), stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        print(f"started   {job.name}", flush=True)

    def collect(self) -> None:
        for name, process in list(self.processes.items()):
            if process.poll() is not None:
                del self.processes[name]
                if process.returncode:
                    self.failed.append(self.study.folder / name / "log.txt")
                print(f"{'failed   ' if process.returncode else 'completed'} {name}", flush=True)

    def end(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait()


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends a study as Ctrl-C does: its jobs end with it. What a shell runs in the background gets no Ctrl-C."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def run_jobs(jobs: Iterable[Job], study: Study) -> dict[str, dict[str, Any]]:
    """Run what has no result yet; a job waits until the one that it begins from has one.

    Args:
        jobs: Jobs in order of their urgency; those that others begin from must be among them or have run before.
        study: Where and how.

    Returns:
        Results by job name.

    Raises:
        MissingEnvironmentError: Before anything runs.
        FailedJobsError: After all others have run, if some ended with an error.
        KeyboardInterrupt: On SIGINT and SIGTERM, after its processes have ended.
    """
    by_name = {job.name: job for job in jobs}
    waiting = {name: job for name, job in by_name.items() if result_of(job, study.folder) is None}
    if not study.rivals_python.exists() and any(job.needs_brevitas for job in waiting.values()):
        raise MissingEnvironmentError(
            f"rivals-python: '{study.rivals_python}' does not exist, and Brevitas runs in an environment of its own. "
            "Make it with: make .venv-rivals/.installed"
        )
    running = _Running(study)
    try:
        with _terminated_like_interrupted():
            while waiting or running.processes:
                running.collect()
                for name, job in list(waiting.items()):
                    ready = job.start is None or (study.folder / job.start / "result.json").exists()
                    if ready and len(running.processes) < study.processes:
                        running.start(waiting.pop(name))
                if not running.processes and waiting:
                    break  # what they begin from failed
                time.sleep(0.2)
    finally:
        running.end()
    if running.failed or waiting:
        logs = "".join(f"\n  {path}" for path in running.failed)
        raise FailedJobsError(f"{len(running.failed)} runs failed, {len(waiting)} wait for them; see{logs}")
    results = {name: result_of(job, study.folder) for name, job in by_name.items()}
    return {name: result for name, result in results.items() if result is not None}
