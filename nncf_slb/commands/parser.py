"""The parser of all commands."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from nncf_slb.commands import (
    benchmark,
    check,
    completion,
    init,
    inspect,
    pack,
    quantize,
    report,
    schema,
    unpack,
    upscale,
    verify,
)
from nncf_slb.version import __version__

_MODULES = (init, check, quantize, report, inspect, verify, benchmark, upscale, pack, unpack, schema, completion)
COMMANDS = {module.COMMAND.name: module.COMMAND for module in _MODULES}
_COLUMNS, _HELP_COLUMN = 78, 28
_STATUSES = "exit status: 0 good, 1 the check says no, 2 wrong use, 130 interrupted"


class UsageError(Exception):
    """What argparse refuses."""

    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self.usage = parser.format_usage()


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals can be told as JSON, and whose options have one name each, so that scripts last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        formatter = partial(argparse.RawDescriptionHelpFormatter, max_help_position=_HELP_COLUMN)
        kwargs |= {"formatter_class": formatter, "allow_abbrev": False}
        super().__init__(*args, **kwargs)
        for kind, allowed in ((int, "a whole number, such as 10000"), (float, "a number, such as 0.5")):
            self.register("type", kind, partial(_number, kind, allowed))

    def error(self, message: str) -> NoReturn:
        """Raise instead of leaving."""
        raise UsageError(self, message)


def _number(kind: Callable[[str], float], allowed: str, text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"received {text!r}; allowed is {allowed}") from None


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="nncf-slb", description="Search for weights of 1 to 4 bits, and look after the files that hold them.",
        epilog=f"nncf-slb COMMAND --help shows an example of each.\n{_STATUSES}",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS.values():
        own = commands.add_parser(
            command.name, help=command.help,
            description=textwrap.fill(f"{command.help[0].upper()}{command.help[1:]}.", _COLUMNS),
            epilog=f"example:\n  nncf-slb {command.example}\n\n{_STATUSES}",
        )  # fmt: skip
        command.add_arguments(own)
        own.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        own.set_defaults(run=command.run)
    return parser
