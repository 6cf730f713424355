"""Rewrite of a converted network into packed weights and the operations that run fastest on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import openvino as ov

from nncf_slb.config.devices import TargetDevice
from nncf_slb.openvino.binary import keep_signs_unfused, use_binary_form
from nncf_slb.openvino.detours import take_detours
from nncf_slb.openvino.device_rules import check_rules
from nncf_slb.openvino.graph import (
    MODULE_PREFIX,
    CodedConstant,
    CodedUse,
    constant_names,
    find_uses,
    is_quantized,
    make_transposition_explicit,
    module_of,
)
from nncf_slb.openvino.inputs import lower_inputs
from nncf_slb.openvino.weights import (
    decode_in_place,
    is_1x1_convolution,
    use_compressed_form,
    use_integer_form,
    use_plain_form,
    use_table_form,
)


@dataclass(frozen=True)
class LoweredLayer:
    """What became of one layer.

    Attributes:
        name: Path of the layer in the torch model.
        bits: Bits of one weight.
        shape: Shape of the weight as the operation reads it.
        stored: Element type of the codes in the file.
        form: ``binary``, ``compressed`` (packed at run time), ``integer``, ``table``, ``plain``, or ``computed`` where
            the network computes something else from the weight before it uses it.
        zero_channels: Output channels whose weights are all zero.
    """

    name: str
    bits: int
    shape: tuple[int, ...]
    stored: str
    form: str
    zero_channels: int = 0


def lower(
    model: ov.Model, coded: Sequence[CodedConstant], target_device: TargetDevice = "CPU", binary: bool = False
) -> list[LoweredLayer]:
    """Replace each layer's u8 codes by a packed constant and its decoding, and rewrite low-bit inputs, in place.

    Args:
        model: Converted model in which the weight of each layer is ``Convert(codes) * scale``.
        coded: Its layers.
        target_device: Device that the form is for.
        binary: Use BinaryConvolution where it is possible.

    Raises:
        nncf_slb.openvino.graph.LoweringError: If the model does not hold a layer's codes in a form that can be packed,
            or breaks a rule of the device.
    """
    layers: list[LoweredLayer] = []
    taken: set[str] = set()
    signs: dict[str, ov.Node] = {}
    uses, computed = find_uses(model, coded)
    fixed = constant_names(model, shapes=True)
    for use in uses:
        _name(use, taken)
        make_transposition_explicit(use)
        if _data_of(use).get_name() in fixed:
            form, stored = "table", use_table_form(use, target_device != "CPU")
        else:
            form, stored = _lower_use(use, target_device, signs if binary else None)
        layers.append(_lowered(use.constant, use.codes.shape, stored, form))
    for constant, conversions in computed:
        stored = decode_in_place(conversions, constant, target_device)
        layers.append(_lowered(constant, constant.codes.shape, stored, "computed"))
    keep_signs_unfused(signs.values(), constant_names(model))
    lower_inputs(model, done=signs.values())
    model.validate_nodes_and_infer_types()
    if target_device != "NPU":
        take_detours(model)
    check_rules(model, target_device)
    return layers


def _lowered(constant: CodedConstant, shape: tuple[int, ...], stored: str, form: str) -> LoweredLayer:
    return LoweredLayer(constant.layer, constant.bits, shape, stored, form, constant.zero_channels)


def _name(use: CodedUse, taken: set[str]) -> None:
    """Call an operation after its layer, or after the parameter that a function uses.

    A converter that folds batch norm into the weight gives the operation a number in place of a name.
    """
    operation = use.operation
    name = operation.get_friendly_name()
    module = module_of(name)
    if module is None or use.constant.is_of_function:
        name = f"{MODULE_PREFIX}{use.layer}/{operation.get_type_name()}"
        while name in taken:
            name += "_again"
        operation.set_friendly_name(name)
    taken.add(name)


def _data_of(use: CodedUse) -> ov.Node:
    """What the operation computes with besides the weight."""
    return use.operation.input_value(1 - use.consumer.get_index()).get_node()


def _lower_use(use: CodedUse, target_device: TargetDevice, signs: dict[str, ov.Node] | None) -> tuple[str, str]:
    if target_device == "NPU":
        return "plain", use_plain_form(use)
    portable = target_device != "CPU"
    if signs is not None and (stored := use_binary_form(use, signs)):
        return "binary", stored
    quantized = use.consumer.get_index() == 1 and is_quantized(use.operation.input_value(0))
    if not quantized and (packed := use_compressed_form(use, portable)):
        return "compressed", packed
    if use.is_scaled_along_its_sum or (not quantized and is_1x1_convolution(use)):
        return "table", use_table_form(use, portable)
    return "integer", use_integer_form(use, portable)
