"""Runs of a work folder, each a file that is there once the run is complete."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.post_training.networks import NETWORKS, Subject
from nncf_slb.files import new_file
from nncf_slb.openvino.ir import device_name

SAMPLES = 2000
Run = dict[str, Any]


class Study:
    """Runs of a work folder, each a file.

    Args:
        work: The folder.
        seeds: Seeds of the samples.
        floats: Folder of the float networks; the work folder if None.
    """

    def __init__(self, work: Path, seeds: int, floats: Path | None = None) -> None:
        self.work, self.seeds, self._floats = work, range(seeds), floats or work
        self._subjects: dict[tuple[str, int, int], Subject] = {}

    def subject(self, network: str, seed: int, count: int) -> Subject:
        """A trained network with samples; the last one is kept."""
        key = (network, seed, count)
        if key not in self._subjects:
            self._subjects = {key: NETWORKS[network].make(self._floats, seed, count)}
        return self._subjects[key]

    def once(self, name: str, labels: Run, run: Callable[[], Run]) -> None:
        """Run what has not been run yet, and keep it."""
        file = self.work / "runs" / f"{name.replace(' ', '_')}.json"
        if file.exists():
            return
        started = time.perf_counter()
        result = {**labels, **run(), "run_seconds": time.perf_counter() - started, "device": device_name("CPU")}
        with new_file(file) as partial:
            partial.write_text(json.dumps(result))
        shown = " ".join(f"{key} {value:.2f}" for key, value in result.items() if isinstance(value, float))
        print(f"{name}: {shown}", flush=True)

    def runs(self) -> Iterator[Run]:
        """All runs so far."""
        for file in sorted((self.work / "runs").rglob("*.json")):
            yield json.loads(file.read_text())
