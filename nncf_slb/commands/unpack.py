"""``nncf-slb unpack``: the float weights of a packed checkpoint."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncf_slb.commands.command import GOOD, Command, Result
from nncf_slb.errors import printable


@dataclass(frozen=True)
class Unpacked:
    """What was written.

    Attributes:
        output: The file.
        quantizers_left_out: Quantizers of inputs, which a state dict of float weights cannot hold.
    """

    output: str
    quantizers_left_out: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return dataclasses.asdict(self)

    def to_str(self) -> str:
        """One line for the terminal."""
        left_out = self.quantizers_left_out
        return f"{printable(self.output)}: float weights" + (
            f"; {left_out} quantizers of inputs are left out" if left_out else ""
        )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("packed", type=Path, help=".safetensors file that pack or save_packed wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help=".safetensors file to write")


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    from nncf_slb.search.packed import unpack
    from nncf_slb.search.packed_file import read_packed

    written = unpack(arguments.packed, arguments.output)
    return Unpacked(str(written), len(read_packed(arguments.packed).quantizers)), GOOD


COMMAND = Command(
    "unpack", "write the float weights of a packed checkpoint as a state dict",
    "unpack model.safetensors -o float.safetensors", _add_arguments, _run,
)  # fmt: skip
