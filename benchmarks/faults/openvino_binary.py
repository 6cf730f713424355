"""OpenVINO's CPU plugin: BinaryConvolution (opset1)."""

from __future__ import annotations

import numpy as np
import openvino as ov
import torch
from openvino import opset1
from openvino import opset13 as ops
from torch import nn

from benchmarks.faults.fault import OPENVINO, fault
from benchmarks.faults.pieces import (
    Array,
    convolution,
    is_wrong,
    noise,
    quantized,
    small,
    weight,
    what_it_says,
)


def binary_convolution(x: ov.Node, channels: int, seed: int = 5) -> tuple[ov.Node, Array]:
    """16 output channels, 3x3, padded; gives its weights of -1 and 1 as well."""
    bits = np.random.default_rng(seed).integers(0, 2, (16, channels, 3, 3)).astype(np.uint8)
    constant = small(np.packbits(bits.ravel(), bitorder="little"), ov.Type.u1, bits.shape)
    made = opset1.binary_convolution(x, constant, [1, 1], [1, 1], [1, 1], [1, 1], "xnor-popcount", 0.0, "explicit")
    return made, bits.astype(np.float32) * 2 - 1


def sign(x: ov.Node, threshold: float = 0.05) -> ov.Node:
    """0 and 1, as BinaryConvolution reads -1 and 1."""
    ends = [ops.constant(np.float32(end)) for end in (threshold, threshold, 0, 1)]
    return ops.fake_quantize(x, *ends, 2)


def expected_binary(before: Array, signs: Array) -> Array:
    """The convolution of numbers in front of `sign`."""
    bits = torch.where(torch.from_numpy(before) > np.float32(0.05), 1.0, -1.0)
    return nn.functional.conv2d(bits, torch.from_numpy(signs), padding=1).numpy()


@fault(OPENVINO, "openvino.binary.keep_signs_unfused")
def joined_in_front_of_binary() -> bool:
    """Int8 convolutions, joined in front of a BinaryConvolution, kill the process.

    "free(): invalid pointer", or a hang. Right where they are float, or not joined.
    """
    x = ops.parameter([3, 8, 16, 16], np.float32)
    parts = [convolution(quantized(x), weight(8, 8, 3, 3, seed=seed)[0], pad=1) for seed in (1, 3)]
    joined, data = ops.concat(parts, 1), noise(3, 8, 16, 16)
    result, signs = binary_convolution(sign(joined), 16)
    before = what_it_says(ov.Model([joined], [x]), data)
    return is_wrong(ov.Model([result], [x]), data, expected_binary(before, signs))


@fault(OPENVINO, "openvino.binary.keep_signs_unfused")
def sign_behind_a_sum() -> bool:
    """A sign that alone uses the sum behind a BinaryConvolution is fused into that convolution, wrongly."""
    x = ops.parameter([2, 16, 8, 8], np.float32)
    first, _ = binary_convolution(sign(x), 16)
    total, data = ops.add(ops.multiply(first, ops.constant(np.float32(0.01))), x), noise(2, 16, 8, 8)
    result, signs = binary_convolution(sign(total), 16, seed=6)
    before = what_it_says(ov.Model([total], [x]), data)
    return is_wrong(ov.Model([result], [x]), data, expected_binary(before, signs))


@fault(OPENVINO, "openvino.targets.why_not_binary")
def channels_no_multiple_of_8() -> bool:
    """BinaryConvolution is wrong, or does not compile, where the input channels are no multiple of 8."""
    x = ops.parameter([2, 12, 8, 8], np.float32)
    (result, signs), data = binary_convolution(sign(x), 12), noise(2, 12, 8, 8)
    return is_wrong(ov.Model([result], [x]), data, expected_binary(data, signs))


@fault(OPENVINO, "openvino.low_bit_model.convert")
def binary_with_a_free_batch() -> bool:
    """BinaryConvolution does not compile with a free batch."""
    x = ops.parameter([-1, 16, 8, 8], np.float32)
    (result, signs), data = binary_convolution(sign(x), 16), noise(2, 16, 8, 8)
    return is_wrong(ov.Model([result], [x]), data, expected_binary(data, signs))


@fault(OPENVINO, "openvino.inputs.sign_as_bits")
def signs_as_numbers() -> bool:
    """BinaryConvolution is wrong behind a quantization to -1 and 1; it takes one to 0 and 1."""
    x = ops.parameter([2, 16, 8, 8], np.float32)
    ends = [ops.constant(np.float32(end)) for end in (0.05, 0.05, -1, 1)]
    (result, signs), data = binary_convolution(ops.fake_quantize(x, *ends, 2), 16), noise(2, 16, 8, 8)
    return is_wrong(ov.Model([result], [x]), data, expected_binary(data, signs))


@fault(OPENVINO, "openvino.same_side.quantizer_outputs")
def bits_as_an_output() -> bool:
    """A network with the bits in front of a BinaryConvolution as a second output kills the process, or is wrong."""
    x = ops.parameter([2, 16, 8, 8], np.float32)
    bits = sign(ops.relu(x))
    (result, _), data = binary_convolution(bits, 16), noise(2, 16, 8, 8)
    model = ov.Model([bits, result], [x])
    return is_wrong(model, data, (np.maximum(data, 0) > np.float32(0.05)).astype(np.float32))
