"""What a file for a device may hold, one line a rule with its source; checked on every export for that device.

None of these devices was at hand. The rules are what documentation, the devices' own compilers and reports say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import openvino as ov

from nncf_slb.config.devices import TargetDevice
from nncf_slb.openvino.graph import LoweringError

_SMALL = {"u1", "u2", "u3", "u4", "i4"}
_NOT_PORTABLE = {"u1", "u2", "u3"}
_OPENVINO = "openvinotoolkit/openvino"
_NPU_COMPILER = "openvinotoolkit/npu_compiler, commit 150e2025"


@dataclass(frozen=True)
class DeviceRule:
    """One rule.

    Attributes:
        devices: Devices that it is for.
        text: The rule, in one line.
        source: Where it comes from: a page, or a repository with the place in it.
        broken: Gives what breaks it in a lowered network.
    """

    devices: tuple[TargetDevice, ...]
    text: str
    source: str
    broken: Callable[[ov.Model], Iterator[str]]


def check_rules(model: ov.Model, device: TargetDevice) -> None:
    """Refuse a lowered network that breaks a rule of its device.

    Raises:
        LoweringError: Naming every rule that is broken, its source and what breaks it.
    """
    problems = [
        f"{rule.text} ({rule.source}), broken by: {', '.join(broken)}"
        for rule in RULES
        if device in rule.devices and (broken := list(rule.broken(model)))
    ]
    if problems:
        raise LoweringError(
            f"target_device: received {device}, whose rules the network breaks; use another target_device, or leave "
            "the layers out with ignored_scopes:\n  " + "\n  ".join(problems)
        )


def _constants(model: ov.Model, kinds: set[str]) -> list[ov.Node]:
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    return [node for node in nodes if node.get_element_type().get_type_name() in kinds]


def _readers(node: ov.Node) -> list[ov.Node]:
    return [target.get_node() for target in node.output(0).get_target_inputs()]


def _shown(node: ov.Node) -> str:
    return f"{node.get_friendly_name()} ({node.get_element_type().get_type_name()})"


def _free_sizes(model: ov.Model) -> Iterator[str]:
    for port in [*model.inputs, *model.outputs]:
        if port.get_partial_shape().is_dynamic:
            yield f"{port.get_node().get_friendly_name()} {port.get_partial_shape()}"


def _types_of_the_cpu(model: ov.Model) -> Iterator[str]:
    yield from (_shown(node) for node in _constants(model, _NOT_PORTABLE))


def _signed_small_types(model: ov.Model) -> Iterator[str]:
    yield from (_shown(node) for node in _constants(model, {"i4"}))


def _small_at_the_edge(model: ov.Model) -> Iterator[str]:
    for node in _constants(model, _SMALL):
        if any(reader.get_type_name() != "Convert" for reader in _readers(node)):
            yield _shown(node)
    for port in [*model.inputs, *model.outputs]:
        if port.get_element_type().get_type_name() in _SMALL:
            yield _shown(port.get_node())


def _decodings(model: ov.Model) -> Iterator[tuple[ov.Node, ov.Node]]:
    """Each packed weight, and each operation that reads it as numbers."""
    for node in _constants(model, _SMALL):
        if int(np.prod(node.get_output_shape(0))) == 1:  # a zero point
            continue
        for conversion in _readers(node):
            yield from ((node, reader) for reader in _readers(conversion))


def _other_decodings(model: ov.Model) -> Iterator[str]:
    for node, reader in _decodings(model):
        if reader.get_type_name() not in ("Subtract", "Multiply"):
            yield f"{_shown(node)}, read by {reader.get_type_name()}"


def _fractional_zero_points(model: ov.Model) -> Iterator[str]:
    for node, reader in _decodings(model):
        if reader.get_type_name() != "Subtract":
            continue
        shift = reader.input_value(1).get_node()
        shift = shift.input_value(0).get_node() if shift.get_type_name() == "Convert" else shift
        numbers = np.asarray(shift.get_vector(), np.float64)
        if numbers.size != 1 or numbers[0] != np.rint(numbers[0]) or not 0 <= numbers[0] <= 15:
            yield f"{_shown(node)}, zero point {numbers.tolist()}"


def _scales_of_several_axes(model: ov.Model) -> Iterator[str]:
    for node, reader in _decodings(model):
        factors = _readers(reader) if reader.get_type_name() == "Subtract" else [reader]
        for factor in (each for each in factors if each.get_type_name() == "Multiply"):
            scale = factor.input_value(1).get_node()
            if scale.get_type_name() == "Constant" and sum(length != 1 for length in scale.get_output_shape(0)) > 1:
                yield f"{_shown(node)}, scale {list(scale.get_output_shape(0))}"


def _binary_convolutions(model: ov.Model) -> Iterator[str]:
    kinds = [node for node in model.get_ordered_ops() if node.get_type_name() == "BinaryConvolution"]
    yield from (node.get_friendly_name() for node in kinds)


RULES = (
    DeviceRule(
        ("NPU",),
        "Sizes are fixed.",
        f"{_OPENVINO}, docs/articles_en/openvino-workflow/running-inference/inference-devices-and-modes/npu-device.rst"
        ": Limitations",
        _free_sizes,
    ),
    DeviceRule(
        ("NPU",),
        "No constants of 1, 2 or 3 bits.",
        f"{_OPENVINO}, issue 27626 (Unsupported precision: u1); {_NPU_COMPILER}, "
        "src/vpux_compiler/src/frontend/IE.cpp: importPrecision; the plugin's page names 8 bits only",
        _types_of_the_cpu,
    ),
    DeviceRule(
        ("NPU",),
        "4-bit constants are unsigned: drivers run i4 in half precision.",
        "google-ai-edge/LiteRT, pull request 6762",
        _signed_small_types,
    ),
    DeviceRule(
        ("NPU",),
        "A 4-bit tensor is no input or output, and only Convert reads it.",
        "intel/AI-Playground, issue 564 (Network has 4-bit output, which is not yet supported)",
        _small_at_the_edge,
    ),
    DeviceRule(
        ("NPU",),
        "Convert, Subtract and Multiply decode a weight, with no Transpose between them.",
        f"{_NPU_COMPILER}, src/vpux_compiler/include/vpux/compiler/dialect/IE/utils/fake_quantize_utils.hpp: "
        "WeightsDequantizeStructureInfo",
        _other_decodings,
    ),
    DeviceRule(
        ("NPU",),
        "Zero points are whole numbers of 4 bits, one for all channels: others are rounded.",
        f"{_NPU_COMPILER}, src/vpux_compiler/src/utils/quantization.cpp: calcScaleAndZeroPoint, getQuantizedType",
        _fractional_zero_points,
    ),
    DeviceRule(
        ("NPU",),
        "A scale is one number, or changes along one axis.",
        f"{_NPU_COMPILER}, src/vpux_compiler/src/utils/quantization.cpp: getQuantizedType",
        _scales_of_several_axes,
    ),
    DeviceRule(
        ("GPU", "ANY"),
        "No constants of 1, 2 or 3 bits: 2026.4 has a kernel for u2 weights, but takes no u2 tensors yet.",
        f"{_OPENVINO}, pull requests 36170 (in 2026.4), 37243 (not in 2026.4) and 37314 (u3, open); "
        "google-ai-edge/LiteRT, pull request 8651",
        _types_of_the_cpu,
    ),
    DeviceRule(
        ("GPU", "ANY", "NPU"),
        "No BinaryConvolution: the GPU plugin has no kernel for it any more, the NPU none at all.",
        f"{_OPENVINO}, pull request 20889 and issue 27626",
        _binary_convolutions,
    ),
)
