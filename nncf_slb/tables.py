"""Tables for terminals and for Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tabulate import tabulate

_SIDES = {"l": "left", "r": "right"}


def terminal_table(header: Sequence[str], rows: Sequence[Sequence[object]], sides: str) -> str:
    """Table of aligned columns; empty without rows.

    Args:
        header: Names of the columns.
        rows: Cells, in the form in which they are shown.
        sides: ``l`` or ``r`` for each column: the side that its cells stand on.
    """
    if not rows:
        return ""
    alignment = [_SIDES[side] for side in sides]
    return str(tabulate(rows, headers=list(header), disable_numparse=True, colalign=alignment))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]], sides: str) -> str:
    """The same as a Markdown table, without the spaces that would align its source."""
    alignment = [_SIDES[side] for side in sides]
    text = str(tabulate(rows, headers=list(header), disable_numparse=True, colalign=alignment, tablefmt="pipe"))
    header_line, separators, *cells = text.splitlines()
    lines = [header_line, re.sub(r":?-{2,}", "---", separators), *cells]
    return "\n".join(re.sub(r"\| +", "| ", re.sub(r" +\|", " |", line)) for line in lines)
