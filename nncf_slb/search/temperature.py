"""Curves of the inverse temperature ``1 / tau`` over the epochs (paper, section 3.2): pure functions of time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["exponential", "linear", "sine"]


@dataclass(frozen=True)
class TemperatureCurve:
    """Inverse temperature as a function of the epoch.

    Attributes:
        shape: ``exponential``, ``linear`` or ``sine``.
        start_value: ``1 / tau`` up to `start_epoch`.
        end_value: ``1 / tau`` from `end_epoch` on.
        start_epoch: Zero-based epoch at which it begins to rise; may be fractional.
        end_epoch: Zero-based epoch from which the weights are discrete; may be fractional.
    """

    shape: ScheduleName
    start_value: float
    end_value: float
    start_epoch: float
    end_epoch: float

    def __call__(self, epoch: float) -> float:
        """Inverse temperature at `epoch` (zero-based, fractional within an epoch)."""
        return CURVES[self.shape](self.start_value, self.end_value, self.progress(epoch))

    def progress(self, epoch: float) -> float:
        """Share of the way from `start_epoch` to `end_epoch`, from 0 to 1."""
        span = self.end_epoch - self.start_epoch
        return min(1.0, max(0.0, (epoch - self.start_epoch) / span)) if span > 0 else float(epoch >= self.end_epoch)

    def has_started(self, epoch: float) -> bool:
        """True once the temperature has begun to fall."""
        return epoch >= self.start_epoch

    def has_ended(self, epoch: float) -> bool:
        """True from the epoch on that trains the chosen (discrete) weights."""
        return epoch >= self.end_epoch


def _exponential(start: float, end: float, progress: float) -> float:
    return float(start * (end / start) ** progress)


def _linear(start: float, end: float, progress: float) -> float:
    return start + (end - start) * progress


def _sine(start: float, end: float, progress: float) -> float:
    return start + (end - start) * math.sin(0.5 * math.pi * progress)


# Adding a schedule: a function of (start value, end value, progress in [0, 1]) above, its name in `ScheduleName`, and
# one entry here.
CURVES: dict[ScheduleName, Callable[[float, float, float], float]] = {
    "exponential": _exponential,
    "linear": _linear,
    "sine": _sine,
}


def end_value_from_factor(start_value: float, factor: float, epochs: float) -> float:
    """``1 / tau`` after `epochs` epochs that each multiply it by `factor` (the form of the paper's settings)."""
    return float(start_value * factor**epochs)
