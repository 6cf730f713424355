"""The machine that a figure comes from."""

from __future__ import annotations

import platform

from nncf_slb.openvino.ir import core


def machine() -> str:
    """Processor, for beside a figure."""
    try:
        return str(core().get_property("CPU", "FULL_DEVICE_NAME"))
    except RuntimeError:
        return platform.processor() or platform.machine()
