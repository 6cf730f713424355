"""Fashion-MNIST from float training to an IR with 2-bit weights and 8-bit activations, with one table at the end."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from samples.classification.demo import run_from_terminal


def main() -> int:
    """Entry point; exit status 2 when the data is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=["small_resnet", "resnet20"], default="small_resnet")
    parser.add_argument("--data", type=Path, help="folder with the four .gz files; Debian's package by default")
    parser.add_argument("--log-dir", type=Path, default=Path("runs/fashion_mnist"))
    arguments = parser.parse_args()
    name = f"{arguments.model}_fashion_mnist"
    return run_from_terminal(f"{name}_float", f"{name}_w2a8", arguments.log_dir, arguments.data)


if __name__ == "__main__":
    sys.exit(main())
