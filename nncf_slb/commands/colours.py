"""Colours of a terminal, for words that say the same without them."""

from __future__ import annotations

from typing import ClassVar, TextIO

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.theme import Theme

_STYLES = {"head": "bold", "good": "green", "warning": "yellow", "bad": "bold red", "less": "dim"}


class _Words(RegexHighlighter):
    highlights: ClassVar[list[str]] = [
        r"(?m)^(?P<head>\S.*)(?=\n-{2,}[- ]*$)",
        r"(?P<good>\b(within tolerance|good|searched|same)\b)",
        r"(?P<warning>\b(left|changed|only in [ab])\b)",
        r"(?m)(?P<bad>(OUT OF tolerance|\bimpossible\b|^error:|\b\d+ problems?\b))",
        r"(?m)(?P<less>^\(names are .*\)$)",
    ]


def print_in_colour(text: str, stream: TextIO) -> None:
    """Print to a terminal, without colours where it has none or ``NO_COLOR`` is set."""
    console = Console(file=stream, theme=Theme(_STYLES), highlight=False)
    console.print(_Words()(text), soft_wrap=True)
