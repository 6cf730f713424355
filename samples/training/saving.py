"""When a run saves within an epoch."""

from __future__ import annotations

import re
import time

ALLOWED = "steps such as 500, or minutes such as 10min"


class SaveEvery:
    """A number of steps or of minutes.

    Args:
        text: ``500``, ``10min``, ``0.5min``; None for never.

    Raises:
        ValueError: On another text.
    """

    def __init__(self, text: str | None) -> None:
        self._steps = self._seconds = 0.0
        if text is not None:
            found = re.fullmatch(r"([0-9]+)|([0-9]+(?:\.[0-9]+)?) ?min", text.strip())
            steps, minutes = found.groups() if found else (None, None)
            self._steps, self._seconds = float(steps or 0), 60 * float(minutes or 0)
            if not (self._steps or self._seconds):
                raise ValueError(f"received {text!r}; allowed: {ALLOWED}")
        self._saved = time.monotonic()

    def is_due(self, step: int) -> bool:
        """Whether to save after a step of the epoch, counted from 1."""
        if self._seconds and time.monotonic() - self._saved >= self._seconds:
            return True
        return bool(self._steps) and step % self._steps == 0

    def saved(self) -> None:
        """Count the minutes from here."""
        self._saved = time.monotonic()
