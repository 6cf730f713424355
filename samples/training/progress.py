"""Progress of a run: lines on the console, and the files that a report reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from nncf_slb.reports.facts import RunFacts
from nncf_slb.reports.recording import Recording

console = Console()


class Log:
    """Console and the files of a run (`nncf_slb.reports.recording`); silent on every process but the first.

    Args:
        folder: Folder of the run.
        active: Whether this is the first process.
    """

    def __init__(self, folder: Path, active: bool) -> None:
        self._active = active
        self._began = False
        self.recording = Recording(folder)

    def begin(self, facts: RunFacts, epochs: int, fresh: bool) -> None:
        """Prepare the files for a run that has some epochs behind it; what they hold of later ones goes."""
        if self._active:
            self.recording.begin(facts, "epoch", epochs, fresh)
            self._began = True

    def line(self, text: str) -> None:
        """Print a line."""
        if self._active:
            console.print(text, highlight=False, soft_wrap=True, markup=False)

    def epoch(self, epoch: int, values: dict[str, Any]) -> None:
        """Record the numbers of an epoch."""
        if self._began:
            self.recording.add("epoch", {"epoch": epoch, **values})

    def network(self, name: str, **numbers: Any) -> None:
        """Record what was measured of a network; arguments as for `Recording.network`."""
        if self._active:
            self.recording.network(name, **numbers)

    def finish(self) -> None:
        """Record that the run has ended."""
        if self._began:
            self.recording.finish()

    def end(self) -> None:
        """Close the files."""
        self.recording.end()
