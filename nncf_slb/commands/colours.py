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
        r"(?m)(?P<good>(?<=  )(searched|same)(?= |$)|(?<=: )good$|^within tolerance)",
        r"(?m)(?P<warning>(?<=  )(8 bits|left|changed|only in [ab])(?= |$))",
        r"(?m)(?P<bad>^OUT OF tolerance|^error:|\d+ problems?(?= in the config:))",
        r"(?m)(?P<less>^\(names are .*\)$)",
    ]


def print_in_colour(text: str, stream: TextIO) -> None:
    """Print to a terminal, in the colours that it has."""
    console = Console(file=stream, theme=Theme(_STYLES), highlight=False)
    console.print(_Words()(text), soft_wrap=True)
