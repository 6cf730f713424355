"""What a command does before its imports, which take seconds."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


def prepare() -> None:
    """End silently on Ctrl-C, and write nothing to the home folder."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Where this is set, NNCF and OpenVINO leave their telemetry off, which keeps files at home and wants a network.
    os.environ["CI"] = "true"
    # NNCF imports it for what is not used here, and it keeps a list of fonts at home.
    modules: dict[str, Any] = sys.modules
    modules["matplotlib"] = None
