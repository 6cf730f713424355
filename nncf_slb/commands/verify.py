"""``nncf-slb verify``: an exported file against PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nncf_slb.commands.command import GOOD, REFUSED, Command, Result
from nncf_slb.commands.device_options import add_device, properties
from nncf_slb.commands.user_code import SEARCHED_HELP, read_data, searched_network
from nncf_slb.errors import SettingError, SLBError, printable


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("ir", type=Path, help=".xml or .onnx file")
    add("model", help=SEARCHED_HELP)
    add("--data", type=Path, help=".npy file, or .npz with one array for each input, in order; samples along the first "
        "dimension (default: 16 samples of normal noise)")  # fmt: skip
    add("--tolerance", type=float, help="largest difference allowed, relative to the output's largest value (default: "
        "0.001, or 0.05 where activations are quantized)")  # fmt: skip
    add_device(parser)


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    from nncf_slb.openvino.verification import verify_openvino

    model, data = searched_network(arguments.model), read_data(arguments.data)
    try:
        if arguments.ir.suffix == ".onnx":
            from nncf_slb.onnx.verification import verify_onnx

            result: Any = verify_onnx(model, arguments.ir, data, tolerance=arguments.tolerance)
        else:
            result = verify_openvino(
                model, arguments.ir, data, tolerance=arguments.tolerance, device=arguments.device,
                properties=properties(arguments),
            )  # fmt: skip
    except SLBError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:  # the model's own
        raise SettingError(
            f"model: {arguments.model} does not run on the inputs of {printable(arguments.ir)} ({error})"
        ) from error
    return result, GOOD if result.passed else REFUSED


COMMAND = Command(
    "verify", "run the stripped PyTorch model and an exported file on the same data and compare",
    "verify model.xml my_project:searched --data images.npy", _add_arguments, _run,
)  # fmt: skip
