"""NNCF on OpenVINO's networks."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from benchmarks.faults.fault import NNCF, fault
from benchmarks.faults.pieces import small


@fault(NNCF, "openvino.with_nncf.read_for_nncf", "openvino.with_nncf.save_after_nncf")
def three_bits_in_nncf() -> bool:
    """quantize and compress_weights stop at a network with a constant of u3, whatever scopes are ignored.

    "NNCF is not yet supported OpenVINO data type: u3." Constants of u1, u2 and u4 are left alone.
    """
    import nncf

    x = ops.parameter([4, 8], np.float32)
    numbers = ops.convert(small(np.zeros(24, np.uint8), ov.Type.u3, (8, 8)), "f32")
    w = ops.multiply(numbers, ops.constant(np.float32(0.1)))
    try:
        nncf.compress_weights(ov.Model([ops.matmul(x, w, False, True)], [x]))
    except NotImplementedError:
        return True
    return False
