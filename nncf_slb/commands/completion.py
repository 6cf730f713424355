"""``nncf-slb completion``: what a shell needs to complete commands, options and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncf_slb.commands.command import GOOD, Command, Result

_SHELLS = ("bash", "zsh", "tcsh")


@dataclass(frozen=True)
class Completion:
    """A script for a shell.

    Attributes:
        shell: The shell.
        script: The script.
    """

    shell: str
    script: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return {"shell": self.shell, "script": self.script}

    def to_str(self) -> str:
        """The script."""
        return self.script


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=_SHELLS, help="shell that the script is for")


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    import shtab

    from nncf_slb.commands.parser import make_parser

    parser = make_parser()
    for action in _actions(parser):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return Completion(arguments.shell, shtab.complete(parser, arguments.shell)), GOOD


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


COMMAND = Command(
    "completion", "print a script that completes commands, options and files in a shell",
    "completion bash > ~/.local/share/bash-completion/completions/nncf-slb", _add_arguments, _run,
)  # fmt: skip
