"""The machine that a figure comes from."""

from __future__ import annotations

import platform

import openvino as ov


def machine() -> str:
    """Processor, for beside a figure."""
    try:
        return str(ov.Core().get_property("CPU", "FULL_DEVICE_NAME"))
    except RuntimeError:
        return platform.processor() or platform.machine()
