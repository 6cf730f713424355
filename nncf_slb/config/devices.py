"""Devices that a network can be for (the top-level setting ``target_device``), and choices of how files are written."""

from __future__ import annotations

from typing import Literal, get_args

BinaryConvolution = Literal["auto", "always", "never"]
LinearChoice = Literal["exact", "fastest"]
OnnxTypes = Literal["planes", "native"]
TargetDevice = Literal["CPU", "GPU", "NPU", "ANY"]
# Other names of a device: none is the CPU, and older configs call the NPU VPU.
OTHER_NAMES: dict[TargetDevice, tuple[str | None, ...]] = {"CPU": (None, "CPU_SPR"), "NPU": ("VPU",)}
TARGET_DEVICES: tuple[TargetDevice, ...] = get_args(TargetDevice)


def find_target_device(name: str | None) -> TargetDevice:
    """Target of NNCF's top-level ``target_device``; if left out, the CPU, since that is where low bits run fastest.

    Raises:
        ValueError: On any other name.
    """
    for device in TARGET_DEVICES:
        if name == device:
            return device
    for device, names in OTHER_NAMES.items():
        if name in names:
            return device
    meant = ", ".join(f"{other} for {device}" for device, names in OTHER_NAMES.items() for other in names if other)
    raise ValueError(
        f"target_device: received {name!r}; allowed are {', '.join(TARGET_DEVICES)} (also {meant}). Choose one of "
        "them, or leave it out for CPU"
    )
