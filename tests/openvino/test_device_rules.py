"""Rules of devices that are not at hand: each finds what breaks it, exports keep them, and the page has them all."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset1
from openvino import opset13 as ops
from torch import nn

import nncf_slb
from benchmarks.openvino import devices
from nncf_slb.openvino.device_rules import RULES, check_rules
from nncf_slb.openvino.graph import constant_of_bytes, packed_constant
from tests.openvino.test_lowering import patterns_controller, patterns_data

PAGE = Path(__file__).parents[2] / "docs" / "devices.md"
CODES = np.arange(16, dtype=np.uint8).reshape(4, 4) % 2


def product(codes=None, zero_point=8.0, scale=(4, 1), sizes=(2, 4), transposed=False, out=False):
    """A Linear layer with a decoded weight."""
    x = ops.parameter(list(sizes), np.float32)
    codes = packed_constant(CODES, 4) if codes is None else codes
    number = ops.convert(codes, "f32")
    number = ops.transpose(number, ops.constant([1, 0])) if transposed else number
    shifted = ops.subtract(number, np.float32(zero_point))
    weight = ops.multiply(shifted, ops.constant(np.full(scale, 0.5, np.float32)))
    results = [ops.matmul(x, weight, False, True), *([codes] if out else [])]
    return ov.Model(results, [x])


def signed():
    return constant_of_bytes(np.zeros(8, np.uint8), ov.Type.i4, (4, 4))


def binary():
    x = ops.parameter([1, 8, 4, 4], np.float32)
    kernel = constant_of_bytes(np.zeros(8, np.uint8), ov.Type.u1, (8, 8, 1, 1))
    one, none = [1, 1], [0, 0]
    made = opset1.binary_convolution(x, kernel, one, none, none, one, "xnor-popcount", 0.0, "explicit")
    return ov.Model([made], [x])


BROKEN = [
    ("NPU", product(sizes=(-1, 4)), "Sizes are fixed"),
    ("NPU", product(packed_constant(CODES, 1)), r"No constants of 1, 2 or 3 bits\. .*Constant.*\(u1\)"),
    ("NPU", product(packed_constant(CODES, 2)), "No constants of 1, 2 or 3 bits"),
    ("NPU", product(packed_constant(CODES, 3)), "No constants of 1, 2 or 3 bits"),
    ("NPU", product(signed()), "4-bit constants are unsigned"),
    ("NPU", product(out=True), "A 4-bit tensor is no input or output"),
    ("NPU", product(transposed=True), "with no Transpose between them.*read by Transpose"),
    ("NPU", product(zero_point=7.5), r"Zero points are whole numbers.*zero point \[7\.5\]"),
    ("NPU", product(zero_point=-1), "Zero points are whole numbers"),
    ("NPU", product(scale=(4, 4)), r"changes along one axis.*scale \[4, 4\]"),
    ("NPU", binary(), "No BinaryConvolution"),
    ("GPU", binary(), "No BinaryConvolution"),
    ("GPU", product(packed_constant(CODES, 2)), "No constants of 1, 2 or 3 bits"),
    ("ANY", product(packed_constant(CODES, 3)), "No constants of 1, 2 or 3 bits"),
]


@pytest.mark.parametrize(("device", "model", "message"), BROKEN)
def test_what_breaks_a_rule_is_named(device, model, message):
    with pytest.raises(nncf_slb.LoweringError, match=f"(?s)target_device: received {device}.*{message}"):
        check_rules(model, device)
    check_rules(product(), device)
    check_rules(model, "CPU")


def test_every_rule_is_broken_by_a_model_above_and_has_a_source():
    for rule in RULES:
        assert any(list(rule.broken(model)) for device, model, _ in BROKEN if device in rule.devices), rule.text
        assert "/" in rule.source


NPU_OPS = {
    "Parameter", "Constant", "Convert", "Subtract", "Multiply", "Add", "FakeQuantize", "Convolution", "MatMul",
    "MaxPool", "PRelu", "Concat", "ReduceMean", "Result", "Reshape",
}  # fmt: skip


@pytest.mark.parametrize(
    ("weights", "activations", "stored"),
    [
        (1, 4, "u4"), (2, 8, "u4"), (3, 32, "u4"), (1, 1, "u4"), ([-2, -1, 0, 4], 8, "u4"), ([0, 3, 6, 45], 8, "u4"),
        (4, 8, "i8"), (4, 32, "i8"), ([-90, -12, -6, 0], 32, "u4"), ([-9, -1, 0, 8], 32, "i8"), ([7, 9], 8, "u4"),
        ({"bits": 4, "values": "zero_centered"}, 8, "u4"),
    ],
)  # fmt: skip
def test_the_npu_gets_unsigned_4_bits_with_whole_zero_points_and_the_same_numbers(
    weights, activations, stored, tmp_path
):
    ctrl = patterns_controller(weights, activations, "NPU")
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    model = ov.Core().read_model(path)
    check_rules(model, "NPU")
    signs = {"Greater", "Select"} if activations == 1 else set()
    assert {op.get_type_name() for op in model.get_ops()} <= NPU_OPS | signs
    result = nncf_slb.inspect_openvino(path)
    assert {layer.stored for layer in result.layers if layer.searched} == {stored}
    assert nncf_slb.verify_openvino(ctrl, path, patterns_data(4), tolerance=1e-4).passed


def test_the_npu_gets_grouped_convolutions_with_scales_of_one_axis(tmp_path):
    torch.manual_seed(0)
    layers = {
        "grouped": nn.Conv2d(8, 12, 3, groups=2), "depthwise": nn.Conv2d(12, 12, 3, groups=12),
        "grouped_up": nn.ConvTranspose2d(12, 8, 2, 2, groups=4),
        "depthwise_up": nn.ConvTranspose2d(8, 8, 2, 2, groups=8),
    }  # fmt: skip
    network, x = nn.Sequential(OrderedDict(layers)).eval(), torch.randn(20, 8, 8, 8)
    found = nncf_slb.search_post_training(network, x, bits=2, activations=8, edges="search", steps=1)
    path = found.export(tmp_path / "m.xml", target_device="NPU")
    check_rules(ov.Core().read_model(path), "NPU")
    stored = {layer.name: layer.stored for layer in nncf_slb.inspect_openvino(path).layers}
    assert stored == {"grouped": "u4", "depthwise": "u4", "grouped_up": "i8", "depthwise_up": "u4"}
    assert nncf_slb.verify_openvino(found.model, path, x, tolerance=1e-4).passed


def test_the_gpu_plugin_that_is_installed_does_not_take_u2_tensors():
    """The rule on 1, 2 and 3 bits for the GPU: fails on the day when the plugin has what openvino 37243 brings."""
    plugin = Path(ov.__file__).parent / "libs" / "libopenvino_intel_gpu_plugin.so"
    if not plugin.exists():
        pytest.skip("the package for this system keeps its plugins elsewhere")
    kernels = plugin.read_bytes()
    assert b"UINT4_INPUT" in kernels and b"UINT2_INPUT" not in kernels


def test_the_page_has_every_rule(tmp_path):
    page = tmp_path / "devices.md"
    page.write_text(PAGE.read_text())
    assert devices.main([str(page)]) == 0
    assert page.read_text() == PAGE.read_text(), "run: python -m benchmarks.openvino.devices docs/devices.md"
