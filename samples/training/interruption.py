"""Ctrl-C and SIGTERM: an exception elsewhere, but noted during training, so that no step and no file ends halfway."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]


class Interrupted(KeyboardInterrupt):
    """Somebody wants the process to end.

    Attributes:
        status: Exit status that says so.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.status = 128 + number


class Interruption:
    """What has been noted within `noted`.

    Attributes:
        number: Signal; None for none.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def error(self) -> Interrupted:
        """To raise where the work can stop."""
        return Interrupted(self.number or signal.SIGTERM)


@contextmanager
def raised() -> Iterator[None]:
    """Within it, both signals raise `Interrupted`."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    with _handled(stop):
        yield


@contextmanager
def noted(twice: bool = True) -> Iterator[Interruption]:
    """Within it, both signals are noted.

    Args:
        twice: Whether the second one raises `Interrupted`.
    """
    interruption = Interruption()

    def note(number: int, _: FrameType | None) -> None:
        if twice and interruption.number is not None:
            raise Interrupted(number)
        interruption.number = number

    with _handled(note):
        yield interruption


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    """Handle both signals, in the main thread; elsewhere nothing can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def left_to_parent(_: int = 0) -> None:
    """For processes that load data: their parent stops them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
