"""Progress of a run: a bar on a terminal, plain lines elsewhere, TensorBoard scalars and a JSON line for each epoch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from nncf_slb.files import new_file

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
    """Console, ``metrics.jsonl`` and TensorBoard; silent on every process but the first.

    Args:
        folder: Folder of the run.
        active: Whether this is the first process.
    """

    def __init__(self, folder: Path, active: bool) -> None:
        self._active = active
        self._folder = folder
        self._file = folder / "metrics.jsonl"
        self._writer: SummaryWriter | None = None

    def begin(self, epochs: int) -> None:
        """Prepare both files for a run that has some epochs behind it; what they hold of later ones goes."""
        if not self._active:
            return
        if self._file.exists():
            text = self._file.read_text(errors="replace")
            kept = "".join(f"{line}\n" for line in _lines_of_epochs(text, epochs))
            if kept != text:
                with new_file(self._file) as partial:
                    partial.write_text(kept)
        self._writer = SummaryWriter(str(self._folder / "tensorboard"), purge_step=epochs + 1)

    def line(self, text: str) -> None:
        """Print a line."""
        if self._active:
            console.print(text, highlight=False, soft_wrap=True, markup=False)

    def epoch(self, epoch: int, values: dict[str, Any]) -> None:
        """Record the numbers of an epoch."""
        if self._writer is None:
            return
        with self._file.open("a") as file:
            file.write(json.dumps({"epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def end(self) -> None:
        """Close the files."""
        if self._writer is not None:
            with suppress(OSError):  # of a full disk, which the error that ended the run tells
                self._writer.close()
            self._writer = None


def _lines_of_epochs(text: str, epochs: int) -> Iterator[str]:
    """Whole lines of the first epochs, each once; a kill may have cut the last one, or come after an epoch's line."""
    last = 0
    for line in text.splitlines():
        try:
            epoch = json.loads(line)["epoch"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(epoch, int) and last < epoch <= epochs:
            last = epoch
            yield line
