"""Options of the commands that run files: device, properties, shape."""

from __future__ import annotations

import argparse

from nncf_slb.errors import SettingError


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device`` and ``--property``."""
    parser.add_argument("--device", default="CPU", help="OpenVINO device (default: CPU)")
    parser.add_argument(
        "--property", action="append", default=[], metavar="NAME=VALUE",
        help="OpenVINO property to compile with, such as INFERENCE_PRECISION_HINT=f32; may be repeated",
    )  # fmt: skip


def add_shape(parser: argparse.ArgumentParser) -> None:
    """``--shape``."""
    parser.add_argument("--shape", help="shape of the input where more than the batch is free, such as 1,3,256,256")


def properties(arguments: argparse.Namespace) -> dict[str, str]:
    """What ``--property`` says.

    Raises:
        SettingError: If one is not NAME=VALUE.
    """
    pairs = [text.partition("=") for text in arguments.property]
    wrong = [name for name, sign, value in pairs if not (name and sign and value)]
    if wrong:
        raise SettingError(f"--property: received {', '.join(wrong)}; write NAME=VALUE")
    return {name: value for name, _, value in pairs}


def shape_of(text: str | None, argument: str = "--shape") -> list[int] | None:
    """Lengths from a text such as ``1,3,224,224``; None from None.

    Raises:
        SettingError: If it is no list of whole numbers above 0.
    """
    if text is None:
        return None
    try:
        lengths = [int(length) for length in text.replace("x", ",").split(",")]
    except ValueError:
        lengths = [0]
    if min(lengths) < 1:
        raise SettingError(f"{argument}: received {text}; write numbers above 0, such as 1,3,256,256")
    return lengths
