"""A job that never ends: ``python -m tests.benchmarks.endless_worker STUDY JOB DEVICE WORKERS``."""

import os
import sys
import time
from pathlib import Path

from nncf_slb.files import new_file

if __name__ == "__main__":
    with new_file(Path(sys.argv[1]) / sys.argv[2] / "process") as partial:
        partial.write_text(str(os.getpid()))
    while True:
        time.sleep(1)
