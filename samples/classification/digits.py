"""Digits from float training to a 2-bit IR, with one table at the end."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from samples.classification.demo import run_from_terminal


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log-dir", type=Path, default=Path("runs/digits"))
    return run_from_terminal("digits_net_digits_float", "digits_net_digits_w2a32", parser.parse_args().log_dir)


if __name__ == "__main__":
    sys.exit(main())
