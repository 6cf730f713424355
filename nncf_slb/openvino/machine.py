"""What the CPU that exports can do."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import openvino as ov
from openvino import opset13 as ops


@lru_cache(maxsize=1)
def binary_is_faster() -> bool:
    """Whether BinaryConvolution beats 8-bit convolutions here: everywhere but where those use AMX.

    Measured (docs/openvino.md), whole ResNet-18: limited to AVX2 or AVX512 without VNNI, binary is about 2.2 times as
    fast; with VNNI 1.6 times, with VPOPCNTDQ too 2.8 times. Single layers with AMX: 8-bit wins up to 256 channels.
    Asks the plugin, which knows about limits of the environment such as ``ONEDNN_MAX_CPU_ISA``.
    """
    data = ops.parameter([1, 64, 8, 8], np.float32)
    low, high = ops.constant(np.float32(0)), ops.constant(np.float32(255))
    quantized = ops.fake_quantize(data, low, high, low, high, 256)
    weight = ops.multiply(ops.convert(ops.constant(np.ones((64, 64, 3, 3), np.int8)), "f32"), np.float32(0.5))
    convolution = ops.convolution(quantized, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    compiled = ov.compile_model(ov.Model([convolution], [data]), "CPU")
    kernels = [
        str(op.get_rt_info()["primitiveType"].value) for op in compiled.get_runtime_model().get_ordered_ops()
    ]  # fmt: skip
    return not any("amx" in kernel for kernel in kernels)
