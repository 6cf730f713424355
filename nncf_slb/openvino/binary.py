"""Convolutions with 1-bit weights and 1-bit inputs as BinaryConvolution (opset1): XNOR and popcount on the CPU.

Measured (OpenVINO 2026.4.1): exact when the input is a FakeQuantize to 0 and 1, weights are packed least significant
bit first (not as Convert reads them), and the input channels are a multiple of 8; pad value 0 is true zero padding of
the signal of -1 and 1. A batch of dynamic size does not compile. Where a residual sum behind a BinaryConvolution is
used by a sign alone, the plugin fuses all three and computes something else.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import openvino as ov
from openvino import opset1
from openvino import opset13 as ops

from nncf_slb.openvino.graph import SCALE_SUFFIX, CodedUse, constant_of_bytes, replace_output, single_element_pooling
from nncf_slb.openvino.inputs import is_sign, sign_as_bits


def use_binary_form(use: CodedUse, bits_of: dict[str, ov.Node]) -> str | None:
    """Replace a convolution by a binary one with its scale behind it.

    Args:
        use: Where the weight is used.
        bits_of: Signs rewritten so far, by name, so that consumers share them; extended here.

    Returns:
        Stored element type; None if the convolution has no such form, and nothing is changed.
    """
    convolution = use.operation
    source = convolution.input_value(0).get_node()
    scale = use.channel_scale(0)
    if convolution.get_type_name() != "Convolution" or not use.constant.binary or not is_sign(source) or scale is None:
        return None
    name = source.get_friendly_name()
    if name not in bits_of:
        bits_of[name] = sign_as_bits(source)
        bits_of[name].set_friendly_name(f"{name}/bits")
    attributes = convolution.get_attributes()
    packed = np.packbits(use.codes.ravel(), bitorder="little")
    binary = opset1.binary_convolution(
        bits_of[name],
        constant_of_bytes(packed, ov.Type.u1, use.codes.shape),
        attributes["strides"],
        attributes["pads_begin"],
        attributes["pads_end"],
        attributes["dilations"],
        "xnor-popcount",
        0.0,
        attributes["auto_pad"],
    )
    scaled = ops.multiply(binary, ops.constant(scale.reshape(1, -1, 1, 1)))
    binary.set_friendly_name(convolution.get_friendly_name())
    scaled.set_friendly_name(f"{convolution.get_friendly_name()}{SCALE_SUFFIX}")
    replace_output(convolution.output(0), scaled.output(0))
    return "u1"


# What the CPU plugin fuses into the operation before it, besides a residual sum.
_FUSED = {"Add", "Multiply", "Subtract", "PRelu", "Relu", "Clamp", "Elu", "Gelu", "Sigmoid", "Swish", "HSwish", "Tanh"}
# Behind these, fusing a sign is right, or does not happen.
_FUSED_RIGHT = {"Convolution", "GroupConvolution", "BinaryConvolution", "MaxPool", "AvgPool", "Parameter"}


def keep_signs_unfused(signs: Iterable[ov.Node], constants: frozenset[str]) -> None:
    """Put a pooling over single elements, which changes nothing, in front of signs that the plugin would fuse wrongly:
    it fuses nothing beyond a pooling.

    Wrong are a sign that alone uses a sum of two tensors, and a sign behind a concatenation of 8-bit convolutions,
    where the process dies (measured with OpenVINO 2026.4.1).

    Args:
        signs: Signs as BinaryConvolution reads them.
        constants: `constant_names` of the model.
    """
    for sign in signs:
        if not _is_fused_right(sign.input_value(0).get_node(), constants):
            sign.input(0).replace_source_output(single_element_pooling(sign.input_value(0)).output(0))


def _is_fused_right(node: ov.Node, constants: frozenset[str]) -> bool:
    while node.get_type_name() in _FUSED:
        data = [value.get_node() for value in node.input_values()]
        data = [source for source in data if source.get_name() not in constants]
        if len(data) != 1:
            return len(node.output(0).get_target_inputs()) != 1
        node = data[0]
    return node.get_type_name() in _FUSED_RIGHT
