"""OpenVINO's CPU plugin: kernels that compute something else, or do not compile."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import nn

from benchmarks.faults.fault import OPENVINO, fault
from benchmarks.faults.pieces import (
    compute,
    convolution,
    fails,
    is_wrong,
    noise,
    packed_weight,
    precision,
    quantized,
    small,
    two_bits,
    weight,
    what_it_says,
)


@fault(OPENVINO, "openvino.detours.stride_before_convolving")
def stride_before_padding() -> bool:
    """The stride of a padded 1x1 convolution moves in front of its padding.

    With all devices, since it happens before the plugin; a float network.
    """
    x = ops.parameter([1, 3, 16, 16], np.float32)
    w, v = noise(4, 3, 1, 1), noise(4, 4, 1, 1, seed=2)
    inner = convolution(x, ops.constant(w), stride=2)
    model, data = ov.Model([convolution(inner, ops.constant(v), stride=2, pad=1)], [x]), noise(1, 3, 16, 16)
    torch_inner = nn.functional.conv2d(torch.from_numpy(data), torch.from_numpy(w), stride=2)
    expected = nn.functional.conv2d(torch_inner, torch.from_numpy(v), stride=2, padding=1).numpy()
    return is_wrong(model, data, expected)


@fault(OPENVINO, "openvino.detours.stride_before_convolving")
def stride_behind_a_split() -> bool:
    """A 1x1 convolution with a stride behind a split does not compile.

    Elementwise operations between them change nothing; a float network.
    """
    x = ops.parameter([1, 4, 8, 8], np.float32)
    part = ops.relu(ops.variadic_split(x, 1, [2, 2]).output(1))
    kernel = noise(3, 2, 1, 1, seed=3)
    model, data = ov.Model([convolution(part, ops.constant(kernel), stride=2)], [x]), noise(1, 4, 8, 8)
    expected = nn.functional.conv2d(torch.from_numpy(data[:, 2:]).relu(), torch.from_numpy(kernel), stride=2).numpy()
    return is_wrong(model, data, expected)


@fault(OPENVINO, "openvino.weights.use_table_form")
def stride_forgotten() -> bool:
    """A 1x1 convolution with decompressed weights, behind a transposition, forgets its stride.

    It becomes a FullyConnected.
    """
    x = ops.parameter([-1, 16, 16, 3], np.float32)
    w, numbers = weight(16, 3, 1, 1)
    model = ov.Model([convolution(ops.transpose(x, ops.constant([0, 3, 1, 2])), w, stride=2)], [x])
    data = noise(2, 16, 16, 3)
    expected = nn.functional.conv2d(torch.from_numpy(data).permute(0, 3, 1, 2), torch.from_numpy(numbers), stride=2)
    return is_wrong(model, data, expected.numpy(), DYNAMIC_QUANTIZATION_GROUP_SIZE=0)


@fault(OPENVINO, "openvino.weights.use_table_form")
def decompressed_weight_of_a_constant() -> bool:
    """A Linear layer with decompressed weights whose input is a constant does not compile.

    Or whose input becomes one when sizes are fixed, as a Broadcast to the shape of something does.
    """

    def compiles(w: ov.Node) -> bool:
        x = ops.parameter([4, 8], np.float32)
        product = ops.matmul(ops.constant(noise(4, 16)), w, False, True)
        return compute(ov.Model([ops.add(x, product)], [x]), noise(4, 8)).size > 0

    return fails(lambda: compiles(weight(8, 16)[0])) and not fails(lambda: compiles(ops.constant(noise(8, 16))))


@fault(OPENVINO, "openvino.weights.use_compressed_form", needs=("avx512f",))
def rows_that_end_within_a_byte() -> bool:
    """FullyConnected with packed weights is wrong where a row does not end with a byte.

    u2: inputs that are no multiple of 4; u4: an odd number of them.
    """
    x, (w, numbers) = ops.parameter([-1, 22], np.float32), packed_weight(7, 22)
    model, data = ov.Model([ops.matmul(x, w, False, True)], [x]), noise(16, 22)
    return is_wrong(model, data, data @ numbers.T, DYNAMIC_QUANTIZATION_GROUP_SIZE=0)


@fault(OPENVINO, "openvino.weights.use_table_form")
def scale_along_the_sum() -> bool:
    """A matrix product with int8 weights and a scale along what it sums over is wrong for up to four rows.

    As where a network uses a Linear layer's weight transposed. Right from the fifth row on, and with float weights.
    """
    x, (w, numbers) = ops.parameter([-1, 16], np.float32), weight(16, 8)
    model, data = ov.Model([ops.matmul(x, w, False, False)], [x]), noise(4, 16)
    return is_wrong(model, data, data @ numbers, DYNAMIC_QUANTIZATION_GROUP_SIZE=0)


@fault(OPENVINO, "openvino.detours.give_convolutions_a_bias", needs=("amx_int8",))
def transposed_convolution_with_one_bias() -> bool:
    """A transposed int8 convolution with a bias of one number is wrong.

    With a free batch, on processors with AMX.
    """
    x = ops.parameter([-1, 3, 8, 8], np.float32)
    w = ops.transpose(weight(1, 3, 2, 2)[0], ops.constant([1, 0, 2, 3]))
    y = ops.convolution_backprop_data(
        quantized(x), w, strides=[2, 2], pads_begin=[0, 0], pads_end=[0, 0], dilations=[1, 1]
    )
    y = ops.add(y, ops.constant(np.full([1, 1, 1, 1], 0.1, np.float32)))
    model, data = ov.Model([quantized(y)], [x]), noise(3, 3, 8, 8)
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.inputs.lower_inputs")
def few_levels_in_float() -> bool:
    """A convolution behind a quantization of 4 levels runs in float, with int8 weights.

    It runs in int8 behind a second, identity quantization of 256 levels.
    """
    x = ops.parameter([1, 8, 8, 8], np.float32)
    model = ov.Model([convolution(quantized(x, 0.0, 4), weight(8, 8, 3, 3)[0])], [x])
    return precision(model, "Convolution") == "f32"


@fault(OPENVINO, "openvino.weights.use_integer_form")
def doubled_integers_in_float() -> bool:
    """A convolution whose integer weights are multiplied by 2 before they become float runs in float.

    As if that Multiply was a dequantization; with Add(c, c) in its place it runs in int8.
    """
    codes = ops.convert(two_bits(np.arange(8 * 8 * 9, dtype=np.uint8).reshape(8, 8, 3, 3) % 4), "i8")
    precisions = []
    for doubled in (ops.multiply(codes, ops.constant(np.int8(2))), ops.add(codes, codes)):
        numbers = ops.convert(ops.subtract(doubled, ops.constant(np.int8(3))), "f32")
        x = ops.parameter([1, 8, 8, 8], np.float32)
        made = convolution(quantized(x), ops.multiply(numbers, ops.constant(np.float32(0.1))))
        precisions.append(precision(ov.Model([made], [x]), "Convolution"))
    return precisions[0] == "f32" != precisions[1]


@fault(OPENVINO, "openvino.weights.use_table_form", "openvino.weights.use_integer_form")
def gather_with_indices_below_a_byte() -> bool:
    """A Gather with indices of u1 kills the process, or is wrong.

    With u3 too. Right with u2 and u4, and with a Convert to i32 in between.
    """
    x, bits = ops.parameter([1, 8, 4, 4], np.float32), np.arange(64, dtype=np.uint8).reshape(8, 8, 1, 1) % 2
    codes = small(np.packbits(bits), ov.Type.u1, bits.shape)
    made = convolution(x, ops.gather(ops.constant(np.arange(2, dtype=np.float32)), codes, ops.constant(0)))
    data = noise(1, 8, 4, 4)
    expected = nn.functional.conv2d(torch.from_numpy(data), torch.from_numpy(bits.astype(np.float32)))
    return is_wrong(ov.Model([made], [x]), data, expected.numpy())


@fault(OPENVINO)
def grouped_transposed_convolution_in_float() -> bool:
    """A grouped transposed convolution with int8 weights and inputs runs in float.

    There is no detour: such layers are small in the file, and run in float.
    """
    x = ops.parameter([1, 8, 8, 8], np.float32)
    numbers = ops.convert(ops.constant(np.ones((2, 4, 4, 2, 2), np.int8)), "f32")
    w = ops.multiply(numbers, ops.constant(np.float32(0.1)))
    made = ops.group_convolution_backprop_data(quantized(x), w, strides=[2, 2], pads_begin=[0, 0], pads_end=[0, 0],
                                               dilations=[1, 1])  # fmt: skip
    return precision(ov.Model([made], [x]), "Deconvolution") == "f32"


@fault(OPENVINO, "openvino.low_bit_model.convert")
def dynamic_quantization_under_avx2() -> bool:
    """FullyConnected with inputs that are rounded as it runs does not compile under ONEDNN_MAX_CPU_ISA=AVX2.

    That rounding is the plugin's default, so NNCF's own 8-bit layers do not compile either; exports switch it off. The
    limit is read once, so the model is compiled in a new process.
    """
    program = """
import numpy as np, openvino as ov
from openvino import opset13 as ops
x, numbers = ops.parameter([-1, 256], np.float32), ops.constant(np.ones((64, 256), np.int8))
w = ops.multiply(ops.convert(numbers, "f32"), ops.constant(np.full((64, 1), 0.1, np.float32)))
model = ov.Model([ops.matmul(x, w, False, True)], [x])
ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", SETTING})([np.ones((4, 256), np.float32)])
"""
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    default, off = (
        subprocess.run([sys.executable, "-c", program.replace("SETTING", setting)], env=limited, capture_output=True)
        for setting in ("", "'DYNAMIC_QUANTIZATION_GROUP_SIZE': 0")
    )
    return default.returncode != 0 == off.returncode


@fault(OPENVINO, "search.eight_bits.eight_bit_codes")
def sums_of_two_products_in_16_bits() -> bool:
    """An int8 layer whose weights go beyond 64 gives wrong numbers on processors without VNNI, without a word.

    They add the products of two bytes in 16 bits, and saturate (shown here under ONEDNN_MAX_CPU_ISA=AVX2). Weights from
    -64 to 64 cannot reach that; first and last layers of 8 bits stay there where their inputs are quantized. The limit
    is read once, so the models run in a new process.
    """
    program = """
import numpy as np, openvino as ov
from openvino import opset13 as ops
def gives(largest):
    x, numbers = ops.parameter([4, 64], np.float32), ops.constant(np.full((8, 64), largest, np.int8))
    rounded = ops.fake_quantize(x, np.float32(0), np.float32(255), np.float32(0), np.float32(255), 256)
    w = ops.multiply(ops.convert(numbers, "f32"), np.float32(0.5))
    model = ov.Model([ops.matmul(rounded, w, False, True)], [x])
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([np.full((4, 64), 255, np.float32)])[0] / (64 * 255 * largest * 0.5)
print(*(int(abs(gives(largest) - 1).max() < 1e-3) for largest in (127, 64)))
"""
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", program], env=limited, capture_output=True, text=True)
    return done.stdout.split() == ["0", "1"]


@fault(OPENVINO, "openvino.detours.keep_single_channels_unfused", needs=("amx_int8",))
def transposed_convolution_to_one_channel() -> bool:
    """A transposed int8 convolution to one channel, with a bias and a quantization behind it, is wrong.

    With a free batch, on processors with AMX.
    """
    x = ops.parameter([-1, 3, 8, 8], np.float32)
    w = ops.transpose(weight(1, 3, 2, 2)[0], ops.constant([1, 0, 2, 3]))
    none, one = [0, 0], [1, 1]
    y = ops.convolution_backprop_data(quantized(x), w, strides=[2, 2], pads_begin=none, pads_end=none, dilations=one)
    y = ops.add(y, ops.constant(np.full([1, 1, 1, 1], 0.1, np.float32)))
    model, data = ov.Model([quantized(y)], [x]), noise(3, 3, 8, 8)
    return is_wrong(model, data, what_it_says(model, data))
