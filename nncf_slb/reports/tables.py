"""Tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nncf_slb.reports.formatting import MISSING


@dataclass(frozen=True)
class Cell:
    """A cell of a table, with a bar whose width is a share of the widest, where it has one."""

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        header: Names of the columns.
        rows: Cells; the first of each row is its name.
        numbers: Indices of columns of numbers, which stand on the right.
    """

    caption: str
    header: list[str]
    rows: list[list[Cell]]
    numbers: frozenset[int] = frozenset()


def make_table(caption: str, columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str | Cell]]) -> Table:
    """A table without the columns that have no content; `columns` are names and whether they hold numbers."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    kept = [i for i in range(len(columns)) if i == 0 or any(row[i].text not in ("", MISSING) for row in cells)]
    numbers = frozenset(place for place, i in enumerate(kept) if columns[i][1])
    return Table(caption, [columns[i][0] for i in kept], [[row[i] for i in kept] for row in cells], numbers)
