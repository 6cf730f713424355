"""The ``nncf-slb`` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from nncf_slb.commands import (
    benchmark,
    check,
    inspect,
    pack,
    quantize,
    report,
    schema,
    unpack,
    upscale,
    verify,
)  # fmt: skip
from nncf_slb.commands.command import INTERRUPTED, WRONG_USE
from nncf_slb.commands.output import diagnostics_on_stderr, document, show
from nncf_slb.errors import SLBError, printable
from nncf_slb.version import __version__

COMMANDS = tuple(
    module.COMMAND for module in (check, quantize, report, inspect, verify, benchmark, upscale, pack, unpack, schema)
)
_STATUSES = "exit status: 0 good, 1 the check says no, 2 wrong use, 130 interrupted"


class _UsageError(Exception):
    """What argparse refuses."""

    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self.usage = parser.format_usage()


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals can be told as JSON, and whose options have one name each, so that scripts last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raise instead of leaving."""
        raise _UsageError(self, message)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="nncf-slb", description="Search for weights of 1 to 4 bits, and look after the files that hold them.",
        epilog=f"nncf-slb COMMAND --help shows an example of each.\n{_STATUSES}",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        own = commands.add_parser(
            command.name, help=command.help, description=f"{command.help[0].upper()}{command.help[1:]}.",
            epilog=f"example: nncf-slb {command.example}\n{_STATUSES}",
        )  # fmt: skip
        command.add_arguments(own)
        own.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        own.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        Exit status: 0 for good, 1 where a check says no, 2 for wrong use, 130 after Ctrl-C.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    command = next((word for word in words if word in {command.name for command in COMMANDS}), None)
    as_json = "--json" in words
    try:
        arguments = make_parser().parse_args(words)
        with diagnostics_on_stderr():
            result, status = arguments.run(arguments)
        text = document(command, status, result.to_dict()) if as_json else result.to_str()
    except _UsageError as error:
        show(error.usage.rstrip(), sys.stderr)
        return _fail(command, error, as_json)
    except SLBError as error:
        return _fail(command, error, as_json)
    except OSError as error:
        reason = f"'{printable(error.filename or 'a file')}': {error.strerror or error}"
        return _fail(command, SLBError(reason), as_json)
    except KeyboardInterrupt:
        show("interrupted", sys.stderr)
        return INTERRUPTED
    _print(text)
    return int(status)


def _fail(command: str | None, error: Exception, as_json: bool) -> int:
    """Say what is wrong: to people on the standard error, and with ``--json`` also as the document."""
    show(f"error: {error}", sys.stderr)
    if as_json:
        problems = list(getattr(error, "problems", [])) or [str(error)]
        _print(document(command, WRONG_USE, {"error": {"message": str(error), "problems": problems}}))
    return WRONG_USE


def _print(text: str) -> None:
    """Print a result; a reader that has left, such as ``head``, is no error."""
    try:
        show(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
