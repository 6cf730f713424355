"""The command as users start it: in a process, with files and pipes, or in a terminal."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "nncf_slb.cli"]


def environment(**variables):
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "PYTHONPATH": path, "TERM": "xterm-256color", **variables}


def run(*arguments, cwd=None, **variables):
    """A finished process, its outputs as text."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, env=environment(**variables),
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def in_terminal(*arguments, answers="", columns=80, cwd=None, command=None, **variables):
    """Exit status and all that a terminal of a width shows, with answers typed line by line."""
    ours, theirs = pty.openpty()
    size = environment(COLUMNS=str(columns), **variables)
    process = subprocess.Popen(
        [*(command or COMMAND), *arguments], stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=size,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answers.encode())
    shown, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([ours], [], [], 1)
        try:
            part = os.read(ours, 65536) if ready else None
        except OSError:  # the other end is closed
            break
        if part == b"":
            break
        shown += part or b""
    os.close(ours)
    return process.wait(10), shown.decode().replace("\r\n", "\n")


def without_colours(text):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
