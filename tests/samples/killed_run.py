"""Kills a real run again and again: ``python -m tests.samples.killed_run FOLDER KILLS SECONDS ARGUMENT...``

Each start is a fork of a process that has the imports behind it; what runs in it is the sample's own command.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from samples.classification.main import main

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def start(arguments):
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = 1
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run_and_kill(folder, kills, seconds, arguments):
    """Statuses of all starts, as of `os.waitpid`; the last one is left alone."""
    chance, last = random.Random(0), folder / "last.pth"
    statuses = []
    while True:
        child = start([*arguments, *(["--resume", str(last)] if last.exists() else [])])
        if len(statuses) < kills:
            while not last.exists() and not os.waitpid(child, os.WNOHANG)[0]:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, seconds))
            os.kill(child, chance.choice(SIGNALS))
        statuses.append(os.waitpid(child, 0)[1])
        if len(statuses) > kills:
            return statuses


if __name__ == "__main__":
    folder, kills, seconds, *arguments = sys.argv[1:]
    print(*run_and_kill(Path(folder), int(kills), float(seconds), arguments), file=sys.stderr)
