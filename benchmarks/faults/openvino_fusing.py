"""OpenVINO's CPU plugin: operations that it makes one kernel of, wrongly."""

from __future__ import annotations

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import nn

from benchmarks.faults.fault import OPENVINO, fault
from benchmarks.faults.pieces import convolution, is_wrong, noise, quantized, unsigned, weight, what_it_says


@fault(OPENVINO, "openvino.detours.give_convolutions_a_bias")
def scale_lost_on_the_second_way() -> bool:
    """An int8 convolution without bias, whose output has two consumers, loses its scale on one way.

    One of them is the quantization of the next int8 convolution. Right with a fixed batch, with a bias, or with a
    ReLU in front of the fork. Free height or width are as bad as a free batch.
    """
    x = ops.parameter([-1, 3, 8, 8], np.float32)
    first = convolution(quantized(x), weight(8, 3, 3, 3)[0], pad=1)
    second = convolution(quantized(first), weight(8, 8, 3, 3)[0], pad=1)
    model, data = ov.Model([ops.add(first, second)], [x]), noise(2, 3, 8, 8)
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.detours.keep_axes_of_reductions")
def reduction_fused_along_the_wrong_axis() -> bool:
    """Factors and quantizations for each channel are fused into a reduction along the wrong axis.

    Where the reduction drops its axis. Right with keep_dims and a Squeeze behind it.
    """
    x = ops.parameter([-1, 5, 16], np.float32)
    mean = ops.reduce_mean(x, ops.constant([1]), keep_dims=False)
    scaled = ops.add(ops.multiply(mean, ops.constant(noise(1, 16, seed=2))), ops.constant(noise(1, 16, seed=3)))
    low, high = (ops.constant(np.full((1, 16), end, np.float32)) for end in (-4.0, 4 - 2.0**-5))
    product = ops.matmul(ops.fake_quantize(scaled, low, high, low, high, 256), weight(10, 16)[0], False, True)
    model, data = ov.Model([product], [x]), noise(4, 5, 16)
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.subgraphs.decompose_group_norms")
def group_normalization_beside_a_branch() -> bool:
    """Group normalization that meets another branch in a product kills the process.

    When the model is compiled with a fixed batch of two or more; a float network. SNIPPETS_MODE=DISABLE helps.
    """

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.conv = nn.GroupNorm(1, 3), nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x):
            return self.conv(self.norm(x) * torch.sigmoid(x))

    network, data = Gated().eval(), torch.randn(3, 3, 16, 16)
    model = ov.convert_model(network, example_input=data)
    model.reshape([3, 3, 16, 16])
    return is_wrong(model, data.numpy(), network(data).detach().numpy())


@fault(OPENVINO, "openvino.subgraphs.part_attention_from_sums")
def attention_between_sums() -> bool:
    """Attention that is added to a tensor, in front of a second sum with a matrix product, kills the process.

    When the model is compiled with fixed sizes; a float network, and attention written with Softmax as well. The first
    tensor has to be computed by an elementwise operation. SNIPPETS_MODE=DISABLE helps.
    """
    x = ops.parameter([4, 6, 16], np.float32)
    first = ops.relu(x)
    second = ops.add(first, ops.scaled_dot_product_attention(first, first, first))
    model = ov.Model([ops.add(second, ops.matmul(second, ops.constant(noise(16, 16)), False, True))], [x])
    data = noise(4, 6, 16, seed=1)
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.detours.keep_other_axes_unfused")
def quantization_per_token() -> bool:
    """A quantization with a range for each token is fused into the matrix product before it along the channels."""
    x = ops.parameter([2, 6, 8], np.float32)
    product = ops.add(ops.matmul(quantized(x), weight(4, 8)[0], False, True), ops.constant(noise(1, 1, 4)))
    low = ops.constant(-1 - np.arange(6, dtype=np.float32).reshape(1, 6, 1))
    high = ops.constant(1 + np.arange(6, dtype=np.float32).reshape(1, 6, 1))
    model = ov.Model([ops.fake_quantize(product, low, high, low, high, 256)], [x])
    data = noise(2, 6, 8)
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.subgraphs.keep_products_apart", needs=("amx_int8",))
def chain_of_small_products() -> bool:
    """A chain of small quantized matrix products becomes one kernel that computes something else.

    Two dimensions and a fixed batch, on processors with AMX. Right with a third dimension.
    """
    x = ops.parameter([4, 16], np.float32)
    y = x
    for index, features in enumerate((16, 16, 10)):
        y = ops.matmul(unsigned(y, 4.0) if index else quantized(y), weight(features, 16, seed=index)[0], False, True)
        y = ops.add(ops.multiply(y, ops.constant(noise(1, features, seed=index))), ops.constant(noise(1, features)))
        y = ops.relu(y) if index < 2 else y
    model, data = ov.Model([y], [x]), noise(4, 16)
    return is_wrong(model, data, what_it_says(model, data))


@fault(OPENVINO, "openvino.detours.spread_in_float", needs=("avx512f",))
def scales_lost_where_a_gate_is_spread() -> bool:
    """A product that spreads an int8 tensor over an image loses its scales.

    With a free batch that is 1, where the other tensor has a scale for each channel, on processors with AVX512.
    """
    x = ops.parameter([-1, 4, 8, 8], np.float32)
    joined = ops.concat([unsigned(x, 1.005), unsigned(ops.sigmoid(x), 0.994)], 1)
    squeezed = ops.reduce_max(x, ops.constant([2, 3]), True)
    gate = unsigned(ops.sigmoid(convolution(unsigned(squeezed, 1.0), weight(8, 4, 1, 1)[0])), 1.0)
    model, data = ov.Model([ops.multiply(joined, gate)], [x]), noise(1, 4, 8, 8)
    return is_wrong(model, data, what_it_says(model, data))
