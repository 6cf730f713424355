"""OpenVINO's CPU plugin: numbers that it rounds, or leaves unrounded, where the model does not say so."""

from __future__ import annotations

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import nn

from benchmarks.faults.fault import OPENVINO, fault
from benchmarks.faults.pieces import (
    convolution,
    is_wrong,
    noise,
    packed_weight,
    quantized,
    unsigned,
    weight,
    what_it_says,
)


@fault(OPENVINO, "openvino.detours.keep_norms_in_float")
def normalization_of_integers() -> bool:
    """A normalization behind a quantization forgets what is added to the variance.

    The plugin normalizes the integers, and adds the same number to their much larger variance.
    """
    x = ops.parameter([2, 6, 8], np.float32)
    normed = ops.mvn(quantized(x), ops.constant([2]), True, 1e-2, "inside_sqrt")
    product = ops.matmul(quantized(normed), weight(4, 8)[0], False, True)
    model, data = ov.Model([product], [x]), 0.05 * noise(2, 6, 8)
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.detours.average_and_clamp_in_float")
def int8_average() -> bool:
    """An average pooling of int8 numbers is rounded before it is quantized again.

    Up to one level is lost.
    """
    x = ops.parameter([2, 4, 8, 8], np.float32)
    pooled = ops.avg_pool(unsigned(x, 1.0), [2, 2], [0, 0], [0, 0], [2, 2], True)
    kept = ops.prelu(pooled, ops.constant(np.full(4, 0.25, np.float32)))
    model, data = ov.Model([convolution(unsigned(kept, 1.0), weight(8, 4, 1, 1)[0])], [x]), np.abs(noise(2, 4, 8, 8))
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.detours.average_and_clamp_in_float")
def int8_clamp() -> bool:
    """A clamp of int8 numbers cuts off what its bound has behind the point.

    Here 51.8 of 255 levels becomes 51.
    """
    x = ops.parameter([2, 4, 8, 8], np.float32)
    clamped = ops.clamp(unsigned(x, 1.0), 0.0, 0.203)  # 51.8 of 255
    model, data = ov.Model([convolution(unsigned(clamped, 1.3), weight(8, 4, 1, 1)[0])], [x]), np.abs(noise(2, 4, 8, 8))
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.detours.keep_requantizations")
def requantization_left_out() -> bool:
    """A quantization of a quantized tensor to nearly the same range is left out.

    Up to one level is lost.
    """
    x = ops.parameter([2, 4, 8, 8], np.float32)
    pooled = ops.max_pool(unsigned(x, 0.9941), [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
    model = ov.Model([convolution(unsigned(pooled, 0.9978), weight(8, 4, 1, 1)[0])], [x])
    data = np.abs(noise(2, 4, 8, 8))
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.inputs.lower_inputs")
def levels_255() -> bool:
    """The ends of a quantization of 255 levels are taken as those of 256, in front of an int8 convolution.

    Where they are not symmetric. So the numbers of all levels change.
    """
    x = ops.parameter([2, 4, 8, 8], np.float32)
    model = ov.Model([convolution(quantized(x, levels=255), weight(8, 4, 3, 3)[0])], [x])
    data = noise(2, 4, 8, 8)
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.low_bit_model.convert", needs=("avx512_vnni", "avx_vnni", "amx_int8"))
def dynamic_quantization_of_a_convolution() -> bool:
    """A float 1x1 convolution with packed weights gets its inputs rounded to 8 bits, unasked.

    Behind a transposition or a pooling it becomes a FullyConnected, on processors with VNNI or AMX. Right with
    DYNAMIC_QUANTIZATION_GROUP_SIZE=0, which every export writes into the file.
    """
    x = ops.parameter([-1, 8, 8, 64], np.float32)
    w, numbers = packed_weight(40, 64, 1, 1)
    model = ov.Model([convolution(ops.transpose(x, ops.constant([0, 3, 1, 2])), w)], [x])
    data = noise(2, 8, 8, 64)
    expected = nn.functional.conv2d(torch.from_numpy(data).permute(0, 3, 1, 2), torch.from_numpy(numbers)).numpy()
    asked_not_to = is_wrong(model, data, expected, DYNAMIC_QUANTIZATION_GROUP_SIZE=0)
    return is_wrong(model, data, expected) and not asked_not_to
