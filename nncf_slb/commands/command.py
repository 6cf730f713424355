"""What a command is, and what it gives back."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

GOOD, REFUSED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


class Result(Protocol):
    """What a command has found, made or written."""

    def to_dict(self) -> dict[str, Any]:
        """Fields of the JSON document."""

    def to_str(self) -> str:
        """Text for the terminal."""


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: Its name.
        help: One line on what it does.
        example: Arguments behind ``nncf-slb`` that show it at work.
        add_arguments: Adds its arguments to a parser.
        run: Gives the result and the exit status: `GOOD`, or `REFUSED` where a check says no. What the user can mend
            is an `SLBError`, which ends in `WRONG_USE`.
    """

    name: str
    help: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], tuple[Result, int]]
