"""Faults of OpenVINO's CPU plugin that exports step around, shown without this package.

Each test fails on the day when the plugin is right; the detour that its docstring names can go then.
"""

import faulthandler
import os
import signal
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset1
from openvino import opset13 as ops
from torch import nn

FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}
CPU = Path("/proc/cpuinfo")
FLAGS = CPU.read_text() if CPU.exists() else ""


def compute(model, x, **properties):
    return ov.Core().compile_model(model, "CPU", {**FLOAT, **properties})([x])[0]


def is_wrong(model, x, expected, **properties):
    """Whether the plugin computes something else, by more than rounding, or fails, or dies: in a process of its own."""
    child = os.fork()
    if not child:
        faulthandler.disable()  # a crash is what is looked for
        signal.alarm(60)
        try:
            result = compute(model, x, **properties)
            same = result.shape == expected.shape and np.abs(result - expected).max() < 1e-3 * np.abs(expected).max()
            os._exit(0 if same else 1)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1] != 0


def quantized(x, low=-4.0, levels=256):
    step = 2.0**-5
    ends = [ops.constant(np.float32(end)) for end in (low, low + step * (levels - 1))]
    return ops.fake_quantize(x, *ends, *ends, levels)


def unsigned(x, high):
    ends = [ops.constant(np.float32(end)) for end in (0.0, high)]
    return ops.fake_quantize(x, *ends, *ends, 256)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def weight(*shape, seed=1):
    """int8 numbers times a scale per output channel, as the plugin takes them for int8 kernels."""
    numbers = np.random.default_rng(seed).integers(-3, 4, shape).astype(np.int8)
    scale = np.random.default_rng(seed + 1).random((shape[0], *[1] * (len(shape) - 1))).astype(np.float32)
    return ops.multiply(ops.convert(ops.constant(numbers), "f32"), ops.constant(scale)), numbers * scale


def packed_weight(*shape, seed=1):
    """2-bit numbers around a zero point, times a scale per output channel, as the plugin keeps them packed."""
    codes = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)
    scale = np.random.default_rng(seed + 1).random((shape[0], *[1] * (len(shape) - 1))).astype(np.float32)
    number, zero_point = (ops.convert(two_bits(each), "f32") for each in (codes, np.ones([1] * len(shape), np.uint8)))
    return ops.multiply(ops.subtract(number, zero_point), ops.constant(scale)), (codes.astype(np.float32) - 1) * scale


def two_bits(codes):
    tensor = ov.Tensor(ov.Type.u2, ov.Shape(list(codes.shape)))
    four = np.pad(codes.ravel(), (0, -codes.size % 4)).reshape(-1, 4)
    packed = np.bitwise_or.reduce(four << np.arange(0, 8, 2, dtype=np.uint8), axis=1).astype(np.uint8)
    tensor.data.reshape(-1)[: packed.size] = packed.view(tensor.data.dtype)
    return ov.op.Constant(tensor, shared_memory=False)


def convolution(x, w, stride=1, pad=0):
    return ops.convolution(x, w, [stride] * 2, [pad] * 2, [pad] * 2, [1, 1])


def without_rewriting(model, x):
    """What the model says: computed without low-precision transformations and fusing of elementwise operations."""
    return compute(model, x, LP_TRANSFORMS_MODE="NO", SNIPPETS_MODE="DISABLE")


def test_an_int8_convolution_without_bias_loses_its_scale_on_the_second_way():
    """`detours.give_convolutions_a_bias`"""
    x = ops.parameter([-1, 3, 8, 8], np.float32)
    first = convolution(quantized(x), weight(8, 3, 3, 3)[0], pad=1)
    second = convolution(quantized(first), weight(8, 8, 3, 3)[0], pad=1)
    model, data = ov.Model([ops.add(first, second)], [x]), noise(2, 3, 8, 8)
    assert is_wrong(model, data, without_rewriting(model, data))


def test_a_reduction_that_drops_its_axis_is_fused_with_channels_along_the_wrong_one():
    """`detours.keep_axes_of_reductions`"""
    x = ops.parameter([-1, 5, 16], np.float32)
    mean = ops.reduce_mean(x, ops.constant([1]), keep_dims=False)
    scaled = ops.add(ops.multiply(mean, ops.constant(noise(1, 16, seed=2))), ops.constant(noise(1, 16, seed=3)))
    low, high = (ops.constant(np.full((1, 16), end, np.float32)) for end in (-4.0, 4 - 2.0**-5))
    product = ops.matmul(ops.fake_quantize(scaled, low, high, low, high, 256), weight(10, 16)[0], False, True)
    model, data = ov.Model([product], [x]), noise(4, 5, 16)
    assert is_wrong(model, data, without_rewriting(model, data))


def test_group_normalization_beside_another_branch_kills_the_process():
    """`detours.decompose_group_norms`"""

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.conv = nn.GroupNorm(1, 3), nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x):
            return self.conv(self.norm(x) * torch.sigmoid(x))

    network, data = Gated().eval(), torch.randn(3, 3, 16, 16)
    model = ov.convert_model(network, example_input=data)
    model.reshape([3, 3, 16, 16])
    assert is_wrong(model, data.numpy(), network(data).detach().numpy())


def test_normalization_of_integers_forgets_what_is_added_to_the_variance():
    """`detours.keep_norms_in_float`"""
    x = ops.parameter([2, 6, 8], np.float32)
    normed = ops.mvn(quantized(x), ops.constant([2]), True, 1e-2, "inside_sqrt")
    product = ops.matmul(quantized(normed), weight(4, 8)[0], False, True)
    model, data = ov.Model([product], [x]), 0.05 * noise(2, 6, 8)
    assert is_wrong(model, data, without_rewriting(model, data))


def test_a_quantization_per_token_is_fused_along_the_channels():
    """`detours.keep_other_axes_unfused`"""
    x = ops.parameter([2, 6, 8], np.float32)
    product = ops.add(ops.matmul(quantized(x), weight(4, 8)[0], False, True), ops.constant(noise(1, 1, 4)))
    low = ops.constant(-1 - np.arange(6, dtype=np.float32).reshape(1, 6, 1))
    high = ops.constant(1 + np.arange(6, dtype=np.float32).reshape(1, 6, 1))
    model = ov.Model([ops.fake_quantize(product, low, high, low, high, 256)], [x])
    data = noise(2, 6, 8)
    assert is_wrong(model, data, without_rewriting(model, data))


def test_strides_of_a_padded_convolution_move_in_front_of_its_padding():
    """`detours.stride_before_convolving`; of all devices, since it happens before the plugin."""
    x = ops.parameter([1, 3, 16, 16], np.float32)
    w, v = noise(4, 3, 1, 1), noise(4, 4, 1, 1, seed=2)
    inner = convolution(x, ops.constant(w), stride=2)
    model, data = ov.Model([convolution(inner, ops.constant(v), stride=2, pad=1)], [x]), noise(1, 3, 16, 16)
    torch_inner = nn.functional.conv2d(torch.from_numpy(data), torch.from_numpy(w), stride=2)
    expected = nn.functional.conv2d(torch_inner, torch.from_numpy(v), stride=2, padding=1).numpy()
    assert is_wrong(model, data, expected)


def test_a_decompressed_1x1_convolution_behind_a_transposition_forgets_its_stride():
    """`weights.use_table_form`"""
    x = ops.parameter([-1, 16, 16, 3], np.float32)
    w, numbers = weight(16, 3, 1, 1)
    model = ov.Model([convolution(ops.transpose(x, ops.constant([0, 3, 1, 2])), w, stride=2)], [x])
    data = noise(2, 16, 16, 3)
    expected = nn.functional.conv2d(torch.from_numpy(data).permute(0, 3, 1, 2), torch.from_numpy(numbers), stride=2)
    assert is_wrong(model, data, expected.numpy(), DYNAMIC_QUANTIZATION_GROUP_SIZE=0)


@pytest.mark.skipif("vnni" not in FLAGS and "amx" not in FLAGS, reason="the plugin does so where it has VNNI or AMX")
def test_a_1x1_convolution_of_packed_weights_gets_its_inputs_rounded_unasked():
    """The runtime option that every export writes (`export.convert`)."""
    x = ops.parameter([-1, 8, 8, 64], np.float32)
    w, numbers = packed_weight(40, 64, 1, 1)
    model = ov.Model([convolution(ops.transpose(x, ops.constant([0, 3, 1, 2])), w)], [x])
    data = noise(2, 8, 8, 64)
    expected = nn.functional.conv2d(torch.from_numpy(data).permute(0, 3, 1, 2), torch.from_numpy(numbers)).numpy()
    assert is_wrong(model, data, expected)
    assert not is_wrong(model, data, expected, DYNAMIC_QUANTIZATION_GROUP_SIZE=0)


def binary_convolution(x, channels, seed=5):
    bits = np.random.default_rng(seed).integers(0, 2, (16, channels, 3, 3)).astype(np.uint8)
    tensor = ov.Tensor(ov.Type.u1, ov.Shape([16, channels, 3, 3]))
    packed = np.packbits(bits.ravel(), bitorder="little")
    tensor.data.reshape(-1)[: packed.size] = packed.view(tensor.data.dtype)
    constant = ov.op.Constant(tensor, shared_memory=False)
    pads = [1, 1]
    made = opset1.binary_convolution(x, constant, [1, 1], pads, pads, [1, 1], "xnor-popcount", 0.0, "explicit")
    return made, bits.astype(np.float32) * 2 - 1


def sign(x, threshold=0.05):
    ends = [ops.constant(np.float32(end)) for end in (threshold, threshold, 0, 1)]
    return ops.fake_quantize(x, *ends, 2)


def expected_binary(before, signs):
    bits = torch.where(torch.from_numpy(before) > np.float32(0.05), 1.0, -1.0)
    return nn.functional.conv2d(bits, torch.from_numpy(signs), padding=1).numpy()


def test_joined_int8_convolutions_in_front_of_a_binary_one_kill_the_process():
    """`binary.keep_signs_unfused`"""
    x = ops.parameter([3, 8, 16, 16], np.float32)
    parts = [convolution(quantized(x), weight(8, 8, 3, 3, seed=seed)[0], pad=1) for seed in (1, 3)]
    joined, data = ops.concat(parts, 1), noise(3, 8, 16, 16)
    result, signs = binary_convolution(sign(joined), 16)
    before = without_rewriting(ov.Model([joined], [x]), data)
    assert is_wrong(ov.Model([result], [x]), data, expected_binary(before, signs))


def test_a_sign_behind_a_sum_is_fused_into_the_binary_convolution_before_it():
    """`binary.keep_signs_unfused`"""
    x = ops.parameter([2, 16, 8, 8], np.float32)
    first, _ = binary_convolution(sign(x), 16)
    total, data = ops.add(ops.multiply(first, ops.constant(np.float32(0.01))), x), noise(2, 16, 8, 8)
    result, signs = binary_convolution(sign(total), 16, seed=6)
    before = compute(ov.Model([total], [x]), data)
    assert is_wrong(ov.Model([result], [x]), data, expected_binary(before, signs))


@pytest.mark.skipif("avx512f" not in FLAGS, reason="the plugin keeps packed weights at run time where it has AVX512")
def test_packed_rows_that_end_within_a_byte_are_read_wrongly():
    """The condition on the row's length in `weights.use_compressed_form`."""
    x, (w, numbers) = ops.parameter([-1, 22], np.float32), packed_weight(7, 22)
    model, data = ov.Model([ops.matmul(x, w, False, True)], [x]), noise(16, 22)
    assert is_wrong(model, data, data @ numbers.T, DYNAMIC_QUANTIZATION_GROUP_SIZE=0)


@pytest.mark.skipif("amx_int8" not in FLAGS, reason="only where 8-bit kernels use AMX (measured on an Intel Xeon)")
def test_a_chain_of_small_products_becomes_one_kernel_that_computes_something_else():
    """`detours.keep_products_apart`"""
    x = ops.parameter([4, 16], np.float32)
    y = x
    for index, features in enumerate((16, 16, 10)):
        y = ops.matmul(unsigned(y, 4.0) if index else quantized(y), weight(features, 16, seed=index)[0], False, True)
        y = ops.add(ops.multiply(y, ops.constant(noise(1, features, seed=index))), ops.constant(noise(1, features)))
        y = ops.relu(y) if index < 2 else y
    model, data = ov.Model([y], [x]), noise(4, 16)
    assert is_wrong(model, data, without_rewriting(model, data))


def test_an_int8_average_is_rounded_before_it_is_quantized_again():
    """`detours.average_and_clamp_in_float`"""
    x = ops.parameter([2, 4, 8, 8], np.float32)
    pooled = ops.avg_pool(unsigned(x, 1.0), [2, 2], [0, 0], [0, 0], [2, 2], True)
    kept = ops.prelu(pooled, ops.constant(np.full(4, 0.25, np.float32)))
    model, data = ov.Model([convolution(unsigned(kept, 1.0), weight(8, 4, 1, 1)[0])], [x]), np.abs(noise(2, 4, 8, 8))
    assert is_wrong(model, data, without_rewriting(model, data))


def test_an_int8_clamp_cuts_its_bound_off_behind_the_point():
    """`detours.average_and_clamp_in_float`"""
    x = ops.parameter([2, 4, 8, 8], np.float32)
    clamped = ops.clamp(unsigned(x, 1.0), 0.0, 0.203)  # 51.8 of 255
    model, data = ov.Model([convolution(unsigned(clamped, 1.3), weight(8, 4, 1, 1)[0])], [x]), np.abs(noise(2, 4, 8, 8))
    assert is_wrong(model, data, without_rewriting(model, data))


def test_a_quantization_to_nearly_the_same_range_is_left_out():
    """`detours.keep_requantizations`"""
    x = ops.parameter([2, 4, 8, 8], np.float32)
    pooled = ops.max_pool(unsigned(x, 0.9941), [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
    model = ov.Model([convolution(unsigned(pooled, 0.9978), weight(8, 4, 1, 1)[0])], [x])
    data = np.abs(noise(2, 4, 8, 8))
    assert is_wrong(model, data, without_rewriting(model, data))


@pytest.mark.skipif("avx512" not in FLAGS, reason="the kernel is one for AVX512")
def test_a_product_that_spreads_an_int8_tensor_over_an_image_loses_its_scales_at_a_free_batch_of_one():
    """`detours.spread_in_float`"""
    x = ops.parameter([-1, 4, 8, 8], np.float32)
    joined = ops.concat([unsigned(x, 1.005), unsigned(ops.sigmoid(x), 0.994)], 1)
    squeezed = ops.reduce_max(x, ops.constant([2, 3]), True)
    gate = unsigned(ops.sigmoid(convolution(unsigned(squeezed, 1.0), weight(8, 4, 1, 1)[0])), 1.0)
    model, data = ov.Model([ops.multiply(joined, gate)], [x]), noise(1, 4, 8, 8)
    assert is_wrong(model, data, without_rewriting(model, data))


def test_strides_that_would_move_behind_a_split_fail_to_compile():
    """`detours.stride_before_convolving`"""
    x = ops.parameter([1, 4, 8, 8], np.float32)
    part = ops.relu(ops.variadic_split(x, 1, [2, 2]).output(1))
    kernel = noise(3, 2, 1, 1, seed=3)
    model, data = ov.Model([convolution(part, ops.constant(kernel), stride=2)], [x]), noise(1, 4, 8, 8)
    expected = nn.functional.conv2d(torch.from_numpy(data[:, 2:]).relu(), torch.from_numpy(kernel), stride=2).numpy()
    assert is_wrong(model, data, expected)


@pytest.mark.skipif("amx_int8" not in FLAGS, reason="the kernel is one for AMX")
@pytest.mark.parametrize("channels", [4, 1])
def test_a_transposed_int8_convolution_with_a_bias_of_one_number_is_wrong_at_a_free_batch(channels):
    """`detours.give_convolutions_a_bias`, `detours.keep_single_channels_unfused`"""
    x = ops.parameter([-1, 3, 8, 8], np.float32)
    w = ops.transpose(weight(channels, 3, 2, 2)[0], ops.constant([1, 0, 2, 3]))
    y = ops.convolution_backprop_data(
        quantized(x), w, strides=[2, 2], pads_begin=[0, 0], pads_end=[0, 0], dilations=[1, 1]
    )
    y = ops.add(y, ops.constant(np.full([1, 1, 1, 1], 0.1, np.float32)))
    model, data = ov.Model([quantized(y)], [x]), noise(3, 3, 8, 8)
    assert is_wrong(model, data, without_rewriting(model, data))
