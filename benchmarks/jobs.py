"""One training of a study: settings as plain data, folder, result; files are written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nncf_slb.config.section import find_slb_sections
from nncf_slb.files import new_file


@dataclass(frozen=True)
class Job:
    """A run of a sample.

    Attributes:
        name: Folder below the study's, and the key of its result.
        config: Config of the sample (JSON), with epochs and seed.
        start: Name of the job whose last network it begins from; None for random weights.
        rival: Name of a quantizer of `benchmarks.accuracy.rivals` for the inner convolutions' weights; None for none.
        labels: What the run is in the tables: method, weights, activations, and so on.
        test: Whether the test set is used, once, after training; runs that only serve a choice leave it alone.
    """

    name: str
    config: dict[str, Any]
    start: str | None = None
    rival: str | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    test: bool = True

    @property
    def is_rival(self) -> bool:
        """True for low-bit weights by another method than `slb`."""
        quantized = self.rival is not None or "compression" in self.config
        return quantized and not find_slb_sections(self.config)

    @property
    def needs_brevitas(self) -> bool:
        """True for runs that need the rivals' own environment."""
        return bool(self.rival and self.rival.startswith("brevitas"))


def write_json(content: Any, path: Path) -> None:
    """Write beside the final place, then move."""
    with new_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")


def read_job(folder: Path) -> Job:
    """The job that `prepare` wrote into a folder."""
    return Job(**json.loads((folder / "job.json").read_text()))


def prepare(job: Job, study: Path) -> Path:
    """Write a job's settings into its folder and return that.

    Raises:
        ValueError: If the folder holds another job's work, which would otherwise be taken for this one's.
    """
    folder = study / job.name
    content = json.loads(json.dumps(asdict(job)))
    file = folder / "job.json"
    if file.exists():
        found = json.loads(file.read_text())
        if any(found[key] != content[key] for key in ("config", "start", "rival")):
            raise ValueError(f"'{folder}' holds a run with other settings; move it away, or use another --work folder")
    write_json(content, file)
    return folder


def result_of(job: Job, study: Path) -> dict[str, Any] | None:
    """What the worker wrote, once it has done all that the job asks for."""
    file = study / job.name / "result.json"
    if not file.exists():
        return None
    result: dict[str, Any] = json.loads(file.read_text())
    tested = any(name.startswith("test_") for name in result)
    return result if tested or not job.test else None
