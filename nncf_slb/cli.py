"""The ``nncf-slb`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from nncf_slb.commands.command import INTERRUPTED, WRONG_USE
from nncf_slb.commands.output import diagnostics_on_stderr, document, show
from nncf_slb.commands.parser import COMMANDS, UsageError, make_parser
from nncf_slb.errors import SLBError, printable


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        Exit status: 0 for good, 1 where a check says no, 2 for wrong use, 130 after Ctrl-C.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    command = next((word for word in words if word in COMMANDS), None)
    as_json = "--json" in words
    try:
        arguments = make_parser().parse_args(words)
        with diagnostics_on_stderr():
            result, status = arguments.run(arguments)
        text = document(command, status, result.to_dict()) if as_json else result.to_str()
    except UsageError as error:
        show(error.usage.rstrip(), sys.stderr)
        return _fail(command, error, as_json)
    except SLBError as error:
        return _fail(command, error, as_json)
    except OSError as error:
        reason = f"'{printable(error.filename or 'a file')}': {error.strerror or error}"
        return _fail(command, SLBError(reason), as_json)
    except KeyboardInterrupt:
        return _fail(command, SLBError("interrupted"), as_json, INTERRUPTED)
    return _print(text, status)


def _fail(command: str | None, error: Exception, as_json: bool, status: int = WRONG_USE) -> int:
    """Say what is wrong: to people on the standard error, and with ``--json`` also as the document."""
    show(f"error: {error}", sys.stderr)
    if as_json:
        problems = list(getattr(error, "problems", [])) or [str(error)]
        _print(document(command, status, {"error": {"message": str(error), "problems": problems}}), status)
    return status


def _print(text: str, status: int) -> int:
    """Print a result and give the exit status; a reader that has left, such as ``head``, is no error."""
    try:
        show(text, sys.stdout)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter writes once more when it ends
        if not isinstance(error, BrokenPipeError):
            show(f"error: the standard output cannot be written ({error.strerror or error})", sys.stderr)
            return WRONG_USE
    return status


if __name__ == "__main__":
    sys.exit(main())
