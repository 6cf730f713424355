"""Which faults show here, as JSON: ``python -m benchmarks.faults``.

In a process that runs nothing else: the models run in forks of it.
"""

from __future__ import annotations

import json
import sys

from benchmarks.faults.listed import FAULTS

if __name__ == "__main__":
    json.dump({fault.shows.__name__: fault.shows() for fault in FAULTS if fault.is_here}, sys.stdout)
