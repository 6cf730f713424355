"""What OpenVINO leaves behind in a process."""

from __future__ import annotations

import os
import signal

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from benchmarks.faults.fault import OPENVINO, fault
from benchmarks.faults.pieces import fails


@fault(OPENVINO, "openvino.ir.core")
def signal_stack_that_is_gone() -> bool:
    """The next signal that Python handles, such as Ctrl-C, ends the process after two compiled models have gone.

    Each Core's plugin gives the thread an alternate stack for signals, and unmaps it when it goes. Two that go in the
    order in which they came leave the thread with one that is gone. `compile_model` makes a Core at each call.
    """

    def handled() -> bool:
        x = ops.parameter([1, 4], np.float32)
        model = ov.Model([ops.relu(x)], [x])
        compiled = [ov.compile_model(model, "CPU"), ov.compile_model(model, "CPU")]
        del compiled[0]
        del compiled[0]
        seen: list[int] = []
        signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
        os.kill(os.getpid(), signal.SIGUSR1)
        return seen == [signal.SIGUSR1]

    return fails(handled)
