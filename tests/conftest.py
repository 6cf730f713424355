"""Settings of all tests."""

import ctypes
import sys

import hypothesis
import pytest

# A deadline would be a test of the machine's speed, and fail where it is busy.
hypothesis.settings.register_profile("nncf_slb", deadline=None)
hypothesis.settings.load_profile("nncf_slb")


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.fixture(autouse=True)
def no_stack_for_signals():
    """Signals are handled on the thread's own stack.

    Cores of OpenVINO, which many tests make, leave stacks for signals behind that are gone (see `core` in
    nncf_slb.openvino.ir). Python's handler of the next signal, such as of the exit of a child, would end the process.
    """
    if sys.platform == "linux":
        disabled = 2  # SS_DISABLE
        ctypes.CDLL(None).sigaltstack(ctypes.byref(_Stack(None, disabled, 0)), None)
