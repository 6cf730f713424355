"""Progress of a run: a bar on a terminal, plain lines elsewhere, TensorBoard scalars and a JSON line for each epoch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

Item = TypeVar("Item")
console = Console()


def track(items: Iterable[Item], total: int, text: str, visible: bool = True) -> Iterator[Item]:
    """Pass items on, with a bar while that takes time."""
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
        task = progress.add_task(text, total=total)
        for item in items:
            yield item
            progress.advance(task)


class Log:
    """Console, ``metrics.jsonl`` and TensorBoard; silent on every process but the first."""

    def __init__(self, folder: Path, active: bool) -> None:
        self._active = active
        self._folder = folder
        if active:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = SummaryWriter(str(folder / "tensorboard"))

    def line(self, text: str) -> None:
        """Print a line."""
        if self._active:
            console.print(text, highlight=False, soft_wrap=True, markup=False)

    def epoch(self, epoch: int, values: dict[str, Any]) -> None:
        """Record the numbers of an epoch."""
        if not self._active:
            return
        with (self._folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
