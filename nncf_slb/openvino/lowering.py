"""Rewrite of converted weights into packed constants, in the forms that the CPU plugin runs in int8.

Measured (OpenVINO 2026.4.1): a convolution whose weight is ``Const(uN) -> Convert(i8) -> integer arithmetic ->
Convert(f32) -> Multiply`` runs in int8 when its input is quantized, with N bits per weight in the file. The
integer part must be foldable and must not look like a dequantization, hence ``Add(c, c)`` where ``2 c`` is meant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from nncf_slb.openvino.packing import Bytes, pack

_TYPES = {1: ov.Type.u1, 2: ov.Type.u2, 3: ov.Type.u3, 4: ov.Type.u4}
_WEIGHTED_OPS = {
    "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"
}  # fmt: skip
Floats = npt.NDArray[np.float32]


class LoweringError(RuntimeError):
    """The converted graph does not hold the weights of a layer in a form that can be packed."""


@dataclass(frozen=True)
class CodedConstant:
    """Codes of one layer and what they mean.

    Attributes:
        codes: uint8, shape of the weight.
        bits: Bits of one code.
        table: int8 or float32 ``[len(values)]``.
    """

    codes: Bytes
    bits: int
    table: npt.NDArray[np.generic]


def lower_weights(model: ov.Model, coded: dict[str, CodedConstant]) -> None:
    """Replace each layer's u8 codes by a packed constant and its decoding, in place.

    Args:
        model: Converted model in which the weight of each layer is ``Convert(codes) * scale``.
        coded: Layers by the friendly name of their codes constant.

    Raises:
        LoweringError: Naming every layer whose codes the model does not hold.
    """
    constants = {op.get_friendly_name(): op for op in model.get_ops() if op.get_type_name() == "Constant"}
    missing = [name for name in coded if name not in constants]
    if missing:
        raise LoweringError(
            f"the converted model does not hold the codes of: {', '.join(missing)}. A layer whose weights are unused "
            "in forward, or a conversion that folded them, causes this; put the layer into ignored_scopes."
        )
    for name, constant in coded.items():
        for consumer in list(constants[name].output(0).get_target_inputs()):
            _lower_path(_Path(constant.codes, None), consumer, constant, name.removesuffix(".codes"))
    model.validate_nodes_and_infer_types()


@dataclass(frozen=True)
class _Path:
    """Codes and per-weight scale along the way from the constant to the operation that uses the weight."""

    codes: Bytes
    scale: Floats | None

    def reshaped(self, shape: list[int]) -> _Path:
        return _Path(self.codes.reshape(shape), None if self.scale is None else self.scale.reshape(shape))

    def transposed(self, order: list[int]) -> _Path:
        return _Path(self.codes.transpose(order), None if self.scale is None else self.scale.transpose(order))

    def scaled(self, factor: Floats) -> _Path:
        full = np.broadcast_to(factor, self.codes.shape).astype(np.float32)
        return _Path(self.codes, full if self.scale is None else self.scale * full)


def _lower_path(path: _Path, consumer: ov.Input, constant: CodedConstant, name: str) -> None:
    """Follow the weight to its uses; fold shape changes and factors into codes and scale on the way."""
    node = consumer.get_node()
    if node.get_type_name() in _WEIGHTED_OPS:
        consumer.replace_source_output(_weight(path, constant, name))
        return
    following = _follow(path, node, consumer.get_index())
    if following is None:
        raise LoweringError(f"{name}: between codes and layer stands {node.get_type_name()}, which cannot be folded")
    for target in list(node.output(0).get_target_inputs()):
        _lower_path(following, target, constant, name)


def _follow(path: _Path, node: ov.Node, port: int) -> _Path | None:
    kind = node.get_type_name()
    if kind == "Convert":
        return path
    other = node.input_value(1 - port).get_node() if node.get_input_size() == 2 else None
    value = other.data if other is not None and other.get_type_name() == "Constant" else None
    if kind == "Multiply" and value is not None:
        return path.scaled(np.asarray(value, dtype=np.float32))
    if kind in ("Reshape", "Unsqueeze", "Squeeze") and port == 0 and node.get_output_partial_shape(0).is_static:
        return path.reshaped(list(node.get_output_shape(0)))
    if kind == "Transpose" and value is not None:
        return path.transposed([int(axis) for axis in value])
    return None


def _weight(path: _Path, constant: CodedConstant, name: str) -> ov.Output:
    decoded = _decode(path.codes, constant)
    decoded.set_friendly_name(f"{name}/decoded")
    if path.scale is None:
        return decoded.output(0)
    weight = ops.multiply(decoded, ops.constant(_smallest(path.scale), dtype=np.float32))
    weight.set_friendly_name(f"{name}/weight")
    return weight.output(0)


def _smallest(scale: Floats) -> Floats:
    """Keep one element of each axis along which the scale does not change."""
    for axis in range(scale.ndim):
        first = scale.take([0], axis=axis)
        if np.array_equal(np.broadcast_to(first, scale.shape), scale):
            scale = first
    return np.ascontiguousarray(scale)


def _decode(codes: Bytes, constant: CodedConstant) -> ov.Node:
    stored = packed_constant(codes, constant.bits)
    table = constant.table
    if table.dtype != np.int8:
        return ops.gather(ops.constant(table.astype(np.float32)), ops.convert(stored, "i32"), ops.constant(0))
    steps = np.unique(np.diff(table.astype(np.int16)))
    first = int(table[0])
    if steps.size == 1 and steps[0] in (1, 2):
        integers = ops.convert(stored, "i8")
        if steps[0] == 2:
            integers = ops.add(integers, integers)
        if first:
            integers = ops.subtract(integers, ops.constant(-first, dtype=np.int8))
    else:
        integers = ops.gather(ops.constant(table), ops.convert(stored, "i32"), ops.constant(0))
    return ops.convert(integers, "f32")


def packed_constant(codes: Bytes, bits: int) -> ov.Node:
    """Constant of type u1, u2, u3 or u4 that owns its memory."""
    tensor = ov.Tensor(_TYPES[bits], ov.Shape(list(codes.shape)))
    packed = pack(codes, bits)
    tensor.data.reshape(-1)[: packed.size] = packed
    return ov.op.Constant(tensor, shared_memory=False)
