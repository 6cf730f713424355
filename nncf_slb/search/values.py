"""Sets of discrete values a searched weight can take, and the integers they are stored as.

The paper (section 3.1) uses ``2**bits`` evenly spaced points in [-1, 1]; the other sets are common in the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

WIDTHS = (1, 2, 3, 4)
MAX_VALUES = 16
# Integer kernels of processors without VNNI add two products of a byte and a weight in 16 bits, and saturate beyond.
LARGEST_WITHOUT_SATURATION = 64
# How far a table of integers may lie from a list, as a share of the largest number. Two numbers that are nearer
# to each other than twice that could become one entry.
_TABLE_ERROR = 1e-6
LEAST_DISTANCE = 2 * _TABLE_ERROR


@dataclass(frozen=True)
class ValueSet:
    """Discrete values in ascending order: ``table[k] * step`` for code ``k``.

    Attributes:
        name: Name of the set as in the config, or ``"list"`` for a list.
        bits: Storage bits of one code, 1-4.
        table: One number per code. Integers up to 64 where such a common ``step`` exists, else the values.
        step: Factor from ``table`` to the values (dimensionless).
    """

    name: str
    bits: int
    table: tuple[float, ...]
    step: float

    @property
    def is_integer(self) -> bool:
        """True when every entry of ``table`` is an integer up to 64, so that integer kernels can run it."""
        return all(float(t).is_integer() and abs(t) <= LARGEST_WITHOUT_SATURATION for t in self.table)

    def __len__(self) -> int:
        return len(self.table)


def _uniform(bits: int) -> ValueSet:
    levels = 2**bits
    return ValueSet("uniform", bits, tuple(float(2 * k - (levels - 1)) for k in range(levels)), 1.0 / (levels - 1))


def _zero_centered(bits: int) -> ValueSet:
    half = 2 ** (bits - 1)
    return ValueSet("zero_centered", bits, tuple(float(k) for k in range(-half, half)), 1.0 / half)


def _ternary(bits: int) -> ValueSet:
    return ValueSet("ternary", 2, (-1.0, 0.0, 1.0), 1.0)


def _power_of_two(bits: int) -> ValueSet:
    if bits == 1:
        return ValueSet("power_of_two", 1, (-1.0, 1.0), 1.0)
    powers = [float(2**k) for k in range(2 ** (bits - 1) - 1)]
    return ValueSet("power_of_two", bits, (*(-p for p in reversed(powers)), 0.0, *powers), 1.0 / powers[-1])


ValuesName = Literal["uniform", "zero_centered", "ternary", "power_of_two"]


@dataclass(frozen=True)
class NamedValues:
    """All that there is to say of a named set of values.

    Attributes:
        make: Its values, from the bits.
        widths: Bits that it can have, ascending.
        help: What it is, for the config's reference.
    """

    make: Callable[[int], ValueSet]
    widths: tuple[int, ...]
    help: str


# Adding a set of values: a function above, its name in `ValuesName`, and one entry here. Config, schema, reference,
# contradictions with bits, and the widths that ``"bits": "auto"`` tries come from it.
VALUE_SETS: dict[ValuesName, NamedValues] = {
    "uniform": NamedValues(_uniform, WIDTHS, "2^bits evenly spaced numbers from -1 to 1, as in the paper"),
    "zero_centered": NamedValues(
        _zero_centered, WIDTHS[1:], "2^bits evenly spaced numbers from -1 up to just below 1, zero included"
    ),
    "ternary": NamedValues(_ternary, (2,), "-1, 0, 1"),
    "power_of_two": NamedValues(_power_of_two, WIDTHS, "zero and signed powers of two up to 1 (with 1 bit, -1 and 1)"),
}


def widths_of(values: ValuesName | Sequence[float]) -> tuple[int, ...]:
    """Bits that a named set or a list of values can have, ascending; all of them for a list of no allowed length."""
    if isinstance(values, str):
        return VALUE_SETS[values].widths
    return (bits_for_count(len(values)),) if 2 <= len(values) <= MAX_VALUES else WIDTHS


def bits_for_count(count: int) -> int:
    """Storage bits of one code of a list of `count` values."""
    return math.ceil(math.log2(count))


def are_distinct(numbers: Sequence[float]) -> bool:
    """True when all numbers of a list differ by more than `LEAST_DISTANCE` of the largest magnitude."""
    ordered = sorted(numbers)
    least = LEAST_DISTANCE * max(abs(n) for n in ordered)
    return all(higher - lower > least for lower, higher in pairwise(ordered))


def _from_list(numbers: Sequence[float]) -> ValueSet:
    ordered = sorted(float(n) for n in numbers)
    if not 2 <= len(ordered) <= MAX_VALUES or not are_distinct(ordered):
        raise ValueError(
            f"values: received {list(numbers)}; allowed are 2 to {MAX_VALUES} different numbers, more than "
            f"{LEAST_DISTANCE:g} of the largest apart"
        )
    bits = bits_for_count(len(ordered))
    largest = max(abs(n) for n in ordered)
    for steps in range(1, LARGEST_WITHOUT_SATURATION + 1):  # smallest integer table that reproduces the list
        table = [n / largest * steps for n in ordered]
        rounded = [float(round(t)) for t in table]
        if all(abs(t - r) <= _TABLE_ERROR * steps for t, r in zip(table, rounded, strict=True)):
            return ValueSet("list", bits, tuple(rounded), largest / steps)
    return ValueSet("list", bits, tuple(ordered), 1.0)


def make_values(values: ValuesName | Sequence[float], bits: int) -> ValueSet:
    """Build a set of values.

    Args:
        values: A name in `VALUE_SETS`, or a list of 2 to 16 different numbers (see `are_distinct`).
        bits: Storage bits, 1-4; for a list they follow from its length.

    Returns:
        The set, ascending. ``power_of_two`` holds zero and ``2**bits - 2`` signed powers (one code stays unused), with
        1 bit -1 and 1.

    Raises:
        ValueError: On an unknown name, bits outside 1-4, or a list of the wrong length or with equal numbers.

    Example:
        >>> make_values("uniform", 2).table
        (-3.0, -1.0, 1.0, 3.0)
    """
    if not isinstance(values, str):
        return _from_list(values)
    if values not in VALUE_SETS:
        raise ValueError(f"values: received {values!r}; allowed are {', '.join(VALUE_SETS)} or a list of numbers")
    widths = VALUE_SETS[values].widths
    if bits not in widths:
        raise ValueError(f"bits: received {bits}; allowed with {values} values: {', '.join(map(str, widths))}")
    return VALUE_SETS[values].make(bits)


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` codes of `bits` bits take in a file; codes of 3 bits come in groups of 8."""
    return 3 * ((count + 7) // 8) if bits == 3 else (count * bits + 7) // 8
