"""Quantized inputs in the forms that the CPU plugin runs in int8 or binary.

Measured (OpenVINO 2026.4.1): an 8-bit convolution behind a FakeQuantize of fewer than 16 levels runs in f32; a second,
identity one of 256 levels brings it to int8. A sign is a FakeQuantize of 2 levels; while exporting, the stripped
network's signs are converted to one with output 0 and 1 (see `nncf_slb.openvino.tracing_form`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from nncf_slb.openvino.graph import INT8_SUFFIX, Floats, replace_output

_SIGN_LEVELS = 2
_FEWEST_INT8_LEVELS = 16
_SIGN_STEP = 2.0**-6  # -1 and 1 are levels of [-2, 127/64]


def is_sign(node: ov.Node) -> bool:
    """Whether a node is the converted form of a sign."""
    return node.get_type_name() == "FakeQuantize" and int(node.get_attributes()["levels"]) == _SIGN_LEVELS


def sign_as_bits(node: ov.Node) -> ov.Node:
    """The sign as BinaryConvolution reads it: 0 and 1."""
    # Each end needs a constant of its own: with one for both thresholds the plugin computes something else.
    ends = [ops.constant(end) for end in (_threshold(node), _threshold(node), np.float32(0), np.float32(1))]
    return ops.fake_quantize(node.input_value(0), *ends, _SIGN_LEVELS)


def lower_inputs(model: ov.Model, done: Iterable[ov.Node] = ()) -> None:
    """Rewrite every sign and every FakeQuantize of 2 or 3 bits, but those in `done`, so that 8-bit kernels follow."""
    names = {node.get_friendly_name() for node in done}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize" or node.get_friendly_name() in names:
            continue
        if not node.output(0).get_target_inputs():
            continue
        levels = int(node.get_attributes()["levels"])
        if levels == _SIGN_LEVELS:
            _as_int8(node, _sign_as_numbers(node), -128, _SIGN_STEP)
        elif levels < _FEWEST_INT8_LEVELS:
            low, high = (float(node.input_value(port).get_node().data.ravel()[0]) for port in (3, 4))
            _as_int8(node, node, -128 if low < 0 else 0, (high - low) / (levels - 1))


def _sign_as_numbers(node: ov.Node) -> ov.Node:
    """-1 and 1; a FakeQuantize to these in front of another one gives wrong results on the CPU."""
    positive = ops.greater(node.input_value(0), ops.constant(_threshold(node)))
    sign = ops.select(positive, ops.constant(np.float32(1)), ops.constant(np.float32(-1)))
    sign.set_friendly_name(f"{node.get_friendly_name()}/sign")
    return sign


def _threshold(node: ov.Node) -> Floats:
    """Per channel where the converter folded a factor or a bias into it."""
    threshold: Floats = node.input_value(1).get_node().data.astype(np.float32)
    return threshold


def _as_int8(old: ov.Node, rounded: ov.Node, lowest: int, step: float) -> None:
    """Give the consumers of `old` an identity quantization of `rounded` to the 256 levels from ``lowest * step``."""
    ends = [ops.constant(np.float32(end * step)) for end in (lowest, lowest + 255)]
    identity = ops.fake_quantize(rounded, *ends, *ends, 256)
    identity.set_friendly_name(f"{old.get_friendly_name()}{INT8_SUFFIX}")
    replace_output(old.output(0), identity.output(0), but=identity)
