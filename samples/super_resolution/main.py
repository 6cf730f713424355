"""Train, test and export networks for super-resolution: ``python -m samples.super_resolution.main --help``."""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # started as a file: make the repository's packages importable
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from samples.training.start import prepare

if __name__ in ("__main__", "__mp_main__"):  # also in processes that it starts
    prepare()

from samples.super_resolution.trainer import SuperResolution
from samples.training import command_line


def main(argv: list[str] | None = None) -> int:
    """Entry point; see `samples.training.command_line.main`."""
    return command_line.main(SuperResolution, argv)


if __name__ == "__main__":
    sys.exit(main())
