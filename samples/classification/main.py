"""Train, test and export classifiers from an NNCF JSON config: ``python -m samples.classification.main --help``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports take their seconds
    signal.signal(signal.SIGINT, signal.SIG_DFL)

if __package__ in (None, ""):  # started as a file: make the repository's packages importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from samples.classification.trainer import Classification
from samples.training import command_line


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `samples.training.command_line.main`."""
    return command_line.main(Classification, argv)


if __name__ == "__main__":
    sys.exit(main())
