"""Bars of a training in a terminal: steps done, time left, and how the search stands. Elsewhere nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from samples.training.progress import console

Item = TypeVar("Item")
_TEXT_COLUMNS, _BAR_COLUMNS, _TIME_COLUMNS = 10, 10, 5
_SPEED_SECONDS = 600  # over which the time left is estimated, so that it counts validation too


class Bars:
    """The bar of a whole training, and below it one of what goes on meanwhile, such as a validation.

    Args:
        visible: Whether this process shows any.
    """

    def __init__(self, visible: bool) -> None:
        self.visible = visible and console.is_terminal
        self._progress: Progress | None = None

    @contextmanager
    def training(self, steps: int, done: int) -> Iterator[None]:
        """Within it, a bar for all steps, some of which may be done before."""
        if not self.visible:
            yield
            return
        with self._shown() as progress:
            self._training = progress.add_task("training", total=steps, completed=done, numbers="")
            self._progress = progress
            try:
                yield
            finally:
                self._progress = None

    def step(self, text: str, numbers: str) -> None:
        """A step of the training is done.

        Args:
            text: Where the training is, such as ``epoch 3/8``.
            numbers: How the search stands.
        """
        if self._progress is not None:
            self._progress.update(self._training, advance=1, description=text, numbers=numbers)

    def track(self, items: Iterable[Item], total: int, text: str) -> Iterator[Item]:
        """Pass items on, with a bar while that takes time."""
        if not self.visible:
            yield from items
        elif self._progress is not None:
            yield from _tracked(self._progress, items, total, text)
        else:
            with self._shown() as progress:
                yield from _tracked(progress, items, total, text)

    def _shown(self) -> Progress:
        def kept(columns: int) -> Column:  # also in a narrow terminal, where the numbers go on in further lines
            return Column(min_width=columns, no_wrap=True)

        return Progress(
            TextColumn("{task.description}", table_column=kept(_TEXT_COLUMNS)),
            BarColumn(_BAR_COLUMNS, table_column=kept(_BAR_COLUMNS)),
            TimeRemainingColumn(compact=True, table_column=kept(_TIME_COLUMNS)),
            TextColumn("left", table_column=kept(len("left"))),
            TextColumn("{task.fields[numbers]}", table_column=Column()),
            console=console, transient=True, speed_estimate_period=_SPEED_SECONDS,
        )  # fmt: skip


def _tracked(progress: Progress, items: Iterable[Item], total: int, text: str) -> Iterator[Item]:
    task = progress.add_task(text, total=total, numbers="")
    try:
        for item in items:
            yield item
            progress.advance(task)
    finally:
        progress.remove_task(task)
