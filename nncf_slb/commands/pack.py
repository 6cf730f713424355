"""``nncf-slb pack``: a stripped network as a packed checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from nncf_slb.commands.command import GOOD, Command, Result
from nncf_slb.commands.user_code import SEARCHED_HELP, searched_network


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help=SEARCHED_HELP)
    parser.add_argument("-o", "--output", type=Path, required=True, help=".safetensors file to write")


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    from nncf_slb.search.packed import save_packed
    from nncf_slb.search.packed_inspection import inspect_packed

    return inspect_packed(save_packed(searched_network(arguments.model), arguments.output)), GOOD


COMMAND = Command(
    "pack", "write a stripped network as a packed checkpoint", "pack my_project:searched -o model.safetensors",
    _add_arguments, _run,
)  # fmt: skip
