"""Train, test and export networks for super-resolution: ``python -m samples.super_resolution.main --help``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports take their seconds
    signal.signal(signal.SIGINT, signal.SIG_DFL)

if __package__ in (None, ""):  # started as a file: make the repository's packages importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from samples.super_resolution.trainer import SuperResolution
from samples.training import command_line


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `samples.training.command_line.main`."""
    return command_line.main(SuperResolution, argv)


if __name__ == "__main__":
    sys.exit(main())
