"""``nncf-slb inspect``: what a file holds, or how two files differ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nncf_slb.commands.command import GOOD, Command, Result
from nncf_slb.commands.device_options import add_device, add_shape, properties, shape_of
from nncf_slb.errors import SettingError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="+", help=".xml, .onnx or .safetensors file; two are compared")
    add_shape(parser)
    add_device(parser)


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    if len(arguments.file) > 2:
        raise SettingError(f"file: received {len(arguments.file)} files; allowed are one, or two to compare")
    found = [_inspected(path, arguments) for path in arguments.file]
    if len(found) == 1:
        return found[0], GOOD
    from nncf_slb.commands.differences import Differences

    return Differences(*found), GOOD


def _inspected(path: Path, arguments: argparse.Namespace) -> Any:
    if path.suffix == ".safetensors":
        from nncf_slb.search.packed_inspection import inspect_packed

        return inspect_packed(path)
    if path.suffix == ".onnx":
        from nncf_slb.onnx.inspection import inspect_onnx

        return inspect_onnx(path)
    from nncf_slb.openvino.inspection import inspect_openvino

    return inspect_openvino(path, arguments.device, properties(arguments), shape_of(arguments.shape))


COMMAND = Command(
    "inspect", "list the layers of a file and the kernels that run them, or the differences of two",
    "inspect model.xml other.xml", _add_arguments, _run,
)  # fmt: skip
