"""What commands print: results on the standard output, everything else on the standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

from nncf_slb.files import with_nulls
from nncf_slb.tables import CUT

SCHEMA_VERSION = 1


def show(text: str, stream: TextIO | None) -> None:
    """Print, in colour where that is a terminal and ``NO_COLOR`` is not set.

    What the stream's encoding does not hold, such as names of files that are no UTF-8, becomes escapes.
    """
    if stream is None:  # it was closed when the process began
        return
    encoding = stream.encoding or "utf-8"
    try:
        CUT.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace(CUT, "~")
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    if stream.isatty() and not os.environ.get("NO_COLOR"):
        from nncf_slb.commands.colours import print_in_colour

        print_in_colour(text, stream)
    else:
        print(text, file=stream, flush=True)


def document(command: str | None, status: int, fields: Mapping[str, Any]) -> str:
    """A command's JSON document; numbers that are not finite, which JSON has not, are null."""
    head = {"schema_version": SCHEMA_VERSION, "command": command, "exit_status": status}
    return json.dumps(with_nulls({**head, **fields}), indent=2, allow_nan=False)


@contextmanager
def diagnostics_on_stderr() -> Iterator[None]:
    """Within it, whatever prints to the standard output, user's code and libraries in C included, uses the other."""
    if sys.stdout is not None:
        sys.stdout.flush()
    saved = None
    with suppress(OSError, ValueError):  # one of them is closed
        saved = os.dup(1)
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if saved is not None:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(saved, 1)
            os.close(saved)
