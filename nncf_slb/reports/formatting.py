"""Numbers and names as a reader wants them."""

from __future__ import annotations

import math
from collections.abc import Sequence

MISSING = "\N{EN DASH}"
_PREFIXES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def size(count: float | None) -> str:
    """Bytes in three digits: ``21.3 kB``."""
    if count is None:
        return MISSING
    for unit, name in _PREFIXES:
        if count >= unit:
            return f"{digits(count / unit)} {name}"
    return f"{count:.0f} bytes"


def exact(count: int | None) -> str:
    """A whole number with separators of thousands."""
    return MISSING if count is None else f"{count:,}"


def digits(number: float | None, count: int = 3) -> str:
    """A number with so many digits, and no exponent where it is of everyday size."""
    if number is None or not math.isfinite(number):
        return MISSING
    if number == 0:
        return "0"
    exponent = math.floor(math.log10(abs(number)))
    if not -4 <= exponent < 7:
        return f"{number:.{count - 1}e}"
    return f"{number:,.{max(0, count - 1 - exponent)}f}"


def percent(share: float | None, places: int = 1) -> str:
    """A share from 0 to 1 in per cent; what is above 0 or below 1 never looks like it."""
    if share is None or not math.isfinite(share):
        return MISSING
    text = f"{100 * share:.{places}f}"
    smallest = 10**-places
    if share > 0 and float(text) == 0:
        return f"< {smallest:g} %"
    if share < 1 and float(text) == 100:
        return f"> {100 - smallest:g} %"
    return f"{text} %"


def score(value: float | None, unit: str) -> str:
    """A score with its unit."""
    if value is None:
        return MISSING
    places = 2 if abs(value) >= 10 or unit else 4
    return f"{value:.{places}f}{chr(160) + unit if unit else ''}"


def mark_texts(marks: Sequence[float], share: bool = False) -> list[str]:
    """Round numbers of an axis, all with the same decimals; shares in per cent."""
    factor, ending = (100, " %") if share else (1, "")
    scaled = [mark * factor for mark in marks]
    largest = max(map(abs, scaled))
    if largest >= 1e7 or 0 < largest < 1e-4:
        return [f"{number:.1e}{ending}" for number in scaled]
    places = next(n for n in range(12) if all(abs(x - round(x, n)) < 1e-6 * (largest or 1) for x in scaled))
    return [with_minus(f"{number:,.{places}f}{ending}") for number in scaled]


def with_minus(text: str) -> str:
    """A number with a minus sign as wide as a digit in place of the hyphen."""
    return text.replace("-", "\N{MINUS SIGN}")


def points(unit: str) -> str:
    """What differences of scores are counted in."""
    return "points" if unit == "%" else unit


def shortened(name: str, length: int = 28) -> str:
    """A long name without its middle, since its ends tell more."""
    if len(name) <= length:
        return name
    tail = (length - 1) * 3 // 5
    return f"{name[: length - 1 - tail]}…{name[-tail:]}"


def listed(names: list[str], most: int = 4) -> str:
    """Names in a sentence; of many, the first and how many more."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part) if names else ""


def counted(count: int, noun: str) -> str:
    """A number and its noun, in the plural where it is not one."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
