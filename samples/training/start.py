"""What a command does before its imports, which take seconds."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any


def prepare() -> None:
    """End silently on Ctrl-C, write nothing to the home folder, and let the main thread tell of a full disk."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Where this is set, NNCF and OpenVINO leave their telemetry off, which keeps files at home and wants a network.
    os.environ["CI"] = "true"
    # NNCF imports it for what is not used here, and it keeps a list of fonts at home.
    modules: dict[str, Any] = sys.modules
    modules["matplotlib"] = None
    threading.excepthook = _tell


def _tell(error: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread hands what it cannot write on to the main one."""
    if not issubclass(error.exc_type, OSError):
        threading.__excepthook__(error)
