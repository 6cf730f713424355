"""Tables for terminals and for Markdown."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from tabulate import tabulate

_SIDES = {"l": "left", "w": "left", "r": "right"}
_GAP, CUT = 2, "…"
_NARROWEST = 12
_NOTE = "(names are shortened to {} columns; COLUMNS=200 shows more of them)"


def terminal_width() -> int:
    """Columns of the terminal, or what ``COLUMNS`` says; 80 where the output is a file or a pipe."""
    return shutil.get_terminal_size((80, 24)).columns


def terminal_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], sides: str, width: int | None = None
) -> str:
    """Table of aligned columns that fits the terminal where it can; empty without rows.

    Long names are shortened in the middle, such that different names stay different. A last line says so.

    Args:
        header: Names of the columns.
        rows: Cells, in the form in which they are shown.
        sides: A letter for each column: ``l`` and ``r`` for the side that its cells stand on, ``w`` for text, which
            goes on in further lines. Cells on the left are shortened where the table is too wide, the widest first.
        width: Columns to fit into; those of the terminal by default.
    """
    if not rows:
        return ""
    width = terminal_width() if width is None else width
    columns = [[str(name), *(str(row[index]) for row in rows)] for index, name in enumerate(header)]
    widths = [max(map(cell_len, column)) for column in columns]
    fitted = _fitted(widths, sides, width - _GAP * (len(widths) - 1), [len(name) for name in header])
    cut = False
    for index, side in enumerate(sides):
        if side == "l" and fitted[index] < widths[index]:
            columns[index] = [header[index], *shortened(columns[index][1:], fitted[index])]
            fitted[index], cut = max(map(cell_len, columns[index])), True
    head, *lines = zip(*columns, strict=True)
    shown = [_lines(head, fitted, sides), ["  ".join("-" * length for length in fitted)]]
    shown += [_lines(cells, fitted, sides) for cells in lines]
    if cut:
        shown.append(textwrap.wrap(_NOTE.format(width), max(width, _NARROWEST)))
    return "\n".join(line for part in shown for line in part)


def _fitted(widths: Sequence[int], sides: str, total: int, headers: Sequence[int]) -> list[int]:
    """Widths of the columns that come to no more than a total, where those that give way allow it."""
    fitted = list(widths)
    for kind in ("w", "l"):  # sentences go on in the next line before a name loses a letter
        giving = [index for index, side in enumerate(sides) if side == kind]
        floors = {index: max(headers[index], _NARROWEST * (2 if kind == "w" else 1)) for index in giving}
        while sum(fitted) > total:
            able = [index for index in giving if fitted[index] > floors[index]]
            if not able:
                break
            fitted[max(able, key=lambda index: fitted[index])] -= 1
    return fitted


def _lines(cells: Sequence[str], widths: Sequence[int], sides: str) -> list[str]:
    """The lines of a row: several where text goes on."""
    parts = [
        textwrap.wrap(cell, length, break_on_hyphens=False) or [""] if side == "w" else [cell]
        for cell, length, side in zip(cells, widths, sides, strict=True)
    ]
    height = max(map(len, parts))
    filled = zip(*([*part, *[""] * (height - len(part))] for part in parts), strict=True)
    return [(" " * _GAP).join(map(_padded, line, widths, sides)).rstrip() for line in filled]


def _padded(text: str, width: int, side: str) -> str:
    space = " " * (width - cell_len(text))
    return space + text if side == "r" else text + space


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Names of no more than `width` characters, cut in the middle; different ones stay different.

    Where no cut of that length keeps them apart, they get longer.
    """
    different = len(set(names))
    for length in range(width, max(map(len, names)) + 1):
        room = length - len(CUT)
        for head in sorted(range(1, room), key=lambda head: abs(2 * head - room)):
            cut = [n if len(n) <= length else n[:head] + CUT + n[len(n) - room + head :] for n in names]
            if len(set(cut)) == different:
                return cut
    return list(names)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]], sides: str) -> str:
    """The same as a Markdown table, without the spaces that would align its source."""
    alignment = [_SIDES[side] for side in sides]
    text = str(tabulate(rows, headers=list(header), disable_numparse=True, colalign=alignment, tablefmt="pipe"))
    header_line, separators, *cells = text.splitlines()
    lines = [header_line, re.sub(r":?-{2,}", "---", separators), *cells]
    return "\n".join(re.sub(r"\| +", "| ", re.sub(r" +\|", " |", line)) for line in lines)
