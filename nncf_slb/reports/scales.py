"""Axes: from numbers to places on a drawing, and the round numbers that label them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A straight or logarithmic axis.

    Attributes:
        low: Number at its beginning.
        high: Number at its end.
        start: Place of its beginning.
        stop: Place of its end.
        logarithmic: Whether equal ratios are equally far apart.
    """

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False

    def __call__(self, number: float) -> float:
        """Place of a number."""
        low, high, at = self.low, self.high, number
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(max(number, self.low))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.stop - self.start)


def fitted(numbers: Sequence[float], start: float, stop: float, logarithmic: bool = False) -> tuple[Scale, list[float]]:
    """A scale from round number to round number around some numbers, and the round numbers to label.

    Args:
        numbers: At least one; above 0 for a logarithmic scale.
        start: Place of the lowest.
        stop: Place of the highest.
        logarithmic: Whether equal ratios are to be equally far apart.
    """
    low, high = min(numbers), max(numbers)
    marks = _log_marks(low, high) if logarithmic else _marks(low, high)
    return Scale(min(low, marks[0]), max(high, marks[-1]), start, stop, logarithmic), marks


def _marks(low: float, high: float, most: int = 5) -> list[float]:
    if high <= low:
        margin = abs(low) * 0.05 or 0.5
        low, high = low - margin, high + margin
    rough = (high - low) / (most - 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _log_marks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(max(high, low * 1.01)) - 1e-9)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**exponent for exponent in range(first, last + 1) for factor in factors]
        inner = [mark for mark in found if low * 0.999 <= mark <= high * 1.001]
        below = max((mark for mark in found if mark <= low * 1.001), default=low)
        above = min((mark for mark in found if mark >= high * 0.999), default=high)
        marks = sorted({below, *inner, above})
        if len(marks) <= 6:
            return marks
    return marks[:: math.ceil(len(marks) / 6)]


def whole_marks(low: int, high: int, most: int = 6) -> list[int]:
    """Round whole numbers between two, both ends among them where there is room."""
    if high - low < most:
        return list(range(low, high + 1))
    step = next(s for e in range(10) for s in (10**e, 2 * 10**e, 5 * 10**e) if (high - low) / s <= most - 1)
    marks = [mark for mark in range(step, high + 1, step) if mark >= low]
    return [low, *(mark for mark in marks if mark - low > step / 2)]


def thinned(count: int, most: int) -> list[int]:
    """Indices of at most so many of `count` things, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(index * (count - 1) / (most - 1)) for index in range(most)})
