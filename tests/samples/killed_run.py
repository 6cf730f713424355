"""Kills a real run again and again: ``python -m tests.samples.killed_run WHOLE KILLED KILLS ARGUMENT...``

WHOLE is the folder of a run that is left alone, KILLED that of the other. Each start of the latter is a fork of the
process that did the former, so that it has the imports behind it; what runs in it is the sample's own command.
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
    """Process of a run."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def written(path):
    """When a file was written; None if there is none."""
    return path.stat().st_mtime_ns if path.exists() else None


def run_and_kill(folder, kills, arguments):
    """Exit statuses of all starts; most kills come soon after a checkpoint, others anywhere; the last start ends."""
    chance, last = random.Random(0), folder / "last.pth"
    statuses = []
    while len(statuses) <= kills:
        before = written(last)
        child = start([*arguments, *(["--resume", str(last)] if before else [])])
        ended = False
        if len(statuses) < kills:
            trains = chance.random() < 0.75 or before is None
            while trains and written(last) == before and not ended:
                time.sleep(0.001)
                ended = bool(os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT))
            time.sleep(chance.uniform(0, 0.05 if trains else 1.0))
            os.kill(child, chance.choice(SIGNALS))
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return statuses


if __name__ == "__main__":
    whole, killed, kills, *arguments = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main([*arguments, "--log-dir", whole])
    print("statuses", *run_and_kill(Path(killed), int(kills), [*arguments, "--log-dir", killed]))
