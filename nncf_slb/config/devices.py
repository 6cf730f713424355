"""Devices that a network can be for (the top-level setting ``target_device``), and choices of how files are written."""

from __future__ import annotations

from typing import Literal, get_args

BinaryConvolution = Literal["auto", "always", "never"]
OnnxTypes = Literal["planes", "native"]
TargetDevice = Literal["CPU", "GPU", "NPU", "ANY"]
TARGET_DEVICES: tuple[TargetDevice, ...] = get_args(TargetDevice)


def find_target_device(name: str | None) -> TargetDevice:
    """Target of NNCF's top-level ``target_device``; if left out, the CPU, since that is where low bits run fastest.

    Raises:
        ValueError: On any other name.
    """
    for device in TARGET_DEVICES:
        if name == device:
            return device
    if name in (None, "CPU_SPR"):
        return "CPU"
    raise ValueError(
        f"target_device: received {name!r}; allowed are {', '.join(TARGET_DEVICES)}, and CPU_SPR, which means CPU. "
        "Choose one of them, or leave it out for CPU"
    )
