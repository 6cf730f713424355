"""Progress of a run: a bar on a terminal, plain lines elsewhere, and the files that a report reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nncf_slb.reports.facts import RunFacts
from nncf_slb.reports.recording import Recording

Item = TypeVar("Item")
console = Console()


def track(items: Iterable[Item], total: int, text: str, visible: bool = True, done: int = 0) -> Iterator[Item]:
    """Pass items on, with a bar while that takes time; some of the total may be done before."""
    if not (visible and console.is_terminal):
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total, completed=done)
        for item in items:
            yield item
            progress.advance(task)


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
