"""Small operations on an OpenVINO graph, and the way of a layer's codes through it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset1
from openvino import opset13 as ops

from nncf_slb.errors import SLBError
from nncf_slb.openvino.packing import Bytes, pack
from nncf_slb.search.eight_bits import EIGHT_BITS

Floats = npt.NDArray[np.float32]
WEIGHTED_OPS = {
    "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul"
}  # fmt: skip
MODULE_PREFIX = "__module."
ZERO_POINT_SUFFIX = "/with_zero_point"
SCALE_SUFFIX = "/scaled"
INT8_SUFFIX = "/as_int8"  # an identity quantization to 256 levels
QUANTIZER_OPERATION = "/aten::fake_quantize"  # in the name that the converter gives a quantizer
QUANTIZER_SUFFIX = f".input_quantizer{QUANTIZER_OPERATION}/transposed"
_TYPES = {1: ov.Type.u1, 2: ov.Type.u2, 3: ov.Type.u3, 4: ov.Type.u4}
# Ops that hand on the numbers of their first input, in another place or fewer of them.
_KEEP_NUMBERS = {
    "Reshape", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "Slice", "StridedSlice", "Pad", "Split",
    "VariadicSplit",
}  # fmt: skip
# Ops that compute each number of their result from one number of each input.
ELEMENTWISE = {
    "Add", "Multiply", "Subtract", "Divide", "Maximum", "Minimum", "Relu", "Clamp", "Elu", "Gelu", "Sigmoid", "Swish",
    "HSwish", "Tanh", "Exp", "FakeQuantize", "Abs", "Negative", "Sqrt", "Convert", "Power",
}  # fmt: skip


class LoweringError(SLBError, RuntimeError):
    """The converted graph does not hold the weights of a layer in a form that can be packed."""


@dataclass(frozen=True)
class CodedConstant:
    """Codes of one layer and what they mean.

    Attributes:
        path: Path of the module that holds them in the torch model.
        layer: Path of the layer whose weight they are.
        codes: uint8, shape of the weight.
        bits: Bits of one code.
        table: int8 or float32 ``[len(values)]``.
        binary: Whether the layer may become a BinaryConvolution.
        zero_channels: Output channels whose weights are all zero.
    """

    path: str
    layer: str
    codes: Bytes
    bits: int
    table: npt.NDArray[np.generic]
    binary: bool = False
    zero_channels: int = 0

    @property
    def is_of_function(self) -> bool:
        """Whether a function uses the weight, and no layer."""
        return not f"{self.path}.".startswith(f"{self.layer}.")

    @property
    def prefix(self) -> str:
        """What the converter's names of the module's tensors begin with."""
        return f"self.{self.path}".rstrip(".")  # a network that is one layer has no path

    @property
    def constant_name(self) -> str:
        """The converter's name of the codes."""
        return f"{self.prefix}.codes"


@dataclass(frozen=True)
class CodedUse:
    """One place where the graph uses coded weights.

    Attributes:
        constant: The layer's codes and values.
        codes: uint8, shape of the weight as the operation reads it.
        scale: float32, the same shape, or None.
        consumer: Input of the operation that reads the weight.
    """

    constant: CodedConstant
    codes: Bytes
    scale: Floats | None
    consumer: ov.Input

    @property
    def name(self) -> str:
        """What names of nodes begin with that decode the weight."""
        return self.constant.prefix

    @property
    def layer(self) -> str:
        """Path of the layer in the torch model."""
        return self.constant.layer

    @property
    def operation(self) -> ov.Node:
        """The convolution or MatMul."""
        return self.consumer.get_node()

    @property
    def is_scaled_along_its_sum(self) -> bool:
        """Whether a matrix product sums over the scale, as with the weight of a Linear layer that is used transposed.

        The CPU plugin takes such weights in integers for those of a FullyConnected with a scale for each output, and
        gives wrong numbers for up to four rows (OpenVINO 2026.4.1).
        """
        if self.operation.get_type_name() != "MatMul" or self.scale is None:
            return False
        index, attributes = self.consumer.get_index(), self.operation.get_attributes()
        is_transposed = attributes["transpose_b" if index else "transpose_a"]
        axis = self.scale.ndim - (1 if bool(index) == is_transposed else 2)
        return bool((np.diff(self.scale, axis=axis) != 0).any())

    def channel_scale(self, axis: int) -> Floats | None:
        """Scale ``[channels]`` along the axis of output channels; None if it changes along another one."""
        if self.scale is None:
            return np.ones(self.codes.shape[axis], np.float32)
        rows = np.moveaxis(self.scale, axis, 0).reshape(self.codes.shape[axis], -1)
        return np.ascontiguousarray(rows[:, 0]) if (rows == rows[:, :1]).all() else None


def find_uses(
    model: ov.Model, coded: Sequence[CodedConstant]
) -> tuple[list[CodedUse], list[tuple[CodedConstant, list[ov.Node]]]]:
    """Follow each layer's u8 codes to the operations that use the weight.

    Args:
        model: Converted model in which the weight of each layer is ``Convert(codes) * scale``.
        coded: Layers; those whose codes are not in the model are left out.

    Returns:
        The places where a weight is used as it is, at most in another shape; and the other layers, whose weights are
        computed with before they are used, with the conversions of their codes to float.

    Raises:
        LoweringError: Naming every layer whose codes become something else than floats.
    """
    constants = {op.get_friendly_name(): op for op in model.get_ops() if op.get_type_name() == "Constant"}
    uses: list[CodedUse] = []
    computed: list[tuple[CodedConstant, list[ov.Node]]] = []
    wrong: list[str] = []
    for constant in [constant for constant in coded if constant.constant_name in constants]:
        conversions: list[ov.Node] = []
        for consumer in _consumers(constants[constant.constant_name]):
            start = CodedUse(constant, constant.codes, None, consumer)
            blocked: list[CodedUse] = []
            uses += _follow_to_uses(start, blocked)
            if blocked and start.operation.get_type_name() == "Convert":
                conversions.append(start.operation)
            elif blocked:
                wrong.append(f"{start.layer}: {start.operation.get_type_name()}")
        if conversions:
            computed.append((constant, conversions))
    if wrong:
        raise LoweringError(
            "the converted model reads the codes of these layers not as numbers; put these layers into "
            "ignored_scopes:\n  " + "\n  ".join(dict.fromkeys(wrong))
        )
    return uses, computed


def _consumers(node: ov.Node) -> list[ov.Input]:
    """Inputs that read a node's output, in an order that every process finds: the same network gives the same file."""
    return sorted(
        node.output(0).get_target_inputs(), key=lambda each: (each.get_node().get_friendly_name(), each.get_index())
    )


def _follow_to_uses(use: CodedUse, blocked: list[CodedUse]) -> Iterator[CodedUse]:
    """Uses behind one consumer; where the way ends at an operation that can't be folded, it joins `blocked`."""
    node = use.operation
    if node.get_type_name() in WEIGHTED_OPS:
        yield use
        return
    changed = _through(use, node)
    if changed is None:
        blocked.append(use)
        return
    for target in _consumers(node):
        yield from _follow_to_uses(CodedUse(use.constant, *changed, target), blocked)


def _through(use: CodedUse, node: ov.Node) -> tuple[Bytes, Floats | None] | None:
    """Codes and scale behind a node between constant and layer; None if it can't be folded into them."""
    kind, port = node.get_type_name(), use.consumer.get_index()
    codes, scale = use.codes, use.scale
    if kind == "Convert":
        return codes, scale
    other = node.input_value(1 - port).get_node() if node.get_input_size() == 2 else None
    value = other.data if other is not None and other.get_type_name() == "Constant" else None
    if kind == "Multiply" and value is not None:
        factor = np.broadcast_to(np.asarray(value, dtype=np.float32), codes.shape)
        return codes, np.ascontiguousarray(factor if scale is None else scale * factor)
    if kind in ("Reshape", "Unsqueeze", "Squeeze") and port == 0 and node.get_output_partial_shape(0).is_static:
        shape = list(node.get_output_shape(0))
        return codes.reshape(shape), None if scale is None else scale.reshape(shape)
    if kind == "Transpose" and value is not None:
        order = [int(axis) for axis in value]
        return codes.transpose(order), None if scale is None else scale.transpose(order)
    return None


def make_transposition_explicit(use: CodedUse) -> None:
    """Give a MatMul whose first input is read transposed, as the converter folds a Transpose into it, that input
    transposed: the forms of a Linear layer want its channels along the last axis."""
    matmul = use.operation
    if (
        matmul.get_type_name() != "MatMul"
        or use.consumer.get_index() != 1
        or not matmul.get_attributes()["transpose_a"]
    ):
        return
    data = matmul.input_value(0)
    order = list(range(data.get_partial_shape().rank.get_length()))
    order[-2:] = reversed(order[-2:])
    transposed = ops.transpose(data, ops.constant(np.array(order)))
    if is_quantized(data):  # as if the converter had not moved the quantizer to the other side
        transposed.set_friendly_name(f"{MODULE_PREFIX}{use.layer}{QUANTIZER_SUFFIX}")
    matmul.input(0).replace_source_output(transposed.output(0))
    matmul.set_attribute("transpose_a", False)


def packed_constant(codes: Bytes, bits: int) -> ov.Node:
    """Constant of type u1, u2, u3, u4 or u8 that owns its memory, as OpenVINO's Convert reads it."""
    if bits == EIGHT_BITS:
        return ops.constant(codes)
    return constant_of_bytes(pack(codes, bits), _TYPES[bits], codes.shape)


def constant_of_bytes(packed: Bytes, element_type: ov.Type, shape: tuple[int, ...]) -> ov.Node:
    """Constant of a type smaller than a byte from its bytes."""
    tensor = ov.Tensor(element_type, ov.Shape(list(shape)))
    tensor.data.reshape(-1)[: packed.size] = packed.view(tensor.data.dtype)
    return ov.op.Constant(tensor, shared_memory=False)


def module_of(name: str) -> str | None:
    """Path of the torch module that an operation comes from, by its friendly name; None if the name does not tell."""
    return name.removeprefix(MODULE_PREFIX).partition("/")[0] if name.startswith(MODULE_PREFIX) else None


def constant_names(model: ov.Model, shapes: bool = False) -> frozenset[str]:
    """Names (`get_name`) of all nodes that are computed from constants only; one pass over the graph.

    Args:
        model: Any model.
        shapes: Whether shapes count as constants too, as they are once all sizes are fixed.
    """
    constant: set[str] = set()
    for node in model.get_ordered_ops():
        sources = [node.input_value(index).get_node().get_name() for index in range(node.get_input_size())]
        known = node.get_type_name() == "Constant" or (shapes and node.get_type_name() == "ShapeOf")
        if known or (sources and all(source in constant for source in sources)):
            constant.add(node.get_name())
    return frozenset(constant)


def weighted_operations(model: ov.Model, constants: frozenset[str]) -> list[ov.Node]:
    """Convolutions and products with constant weights, in an order in which they can run.

    Args:
        model: Any model.
        constants: Its `constant_names`.
    """
    kinds = WEIGHTED_OPS | {"BinaryConvolution"}
    return [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() in kinds and node.input_value(1).get_node().get_name() in constants
    ]


def following_chain(node: ov.Node, constants: frozenset[str]) -> list[ov.Node]:
    """The node and what only adds constants to its output or scales it: bias, folded batch norm, zero point."""
    chain = [node]
    while True:
        targets = list(chain[-1].output(0).get_target_inputs())
        after = targets[0].get_node() if len(targets) == 1 else None
        if after is None or after.get_type_name() not in ("Add", "Multiply", "Subtract"):
            return chain
        other = after.input_value(1 - targets[0].get_index()).get_node()
        if not after.get_friendly_name().endswith(ZERO_POINT_SUFFIX) and other.get_name() not in constants:
            return chain
        chain.append(after)


def constants_below(*nodes: ov.Node) -> list[ov.Node]:
    """Constants that nodes are computed from, each once; of what only lends its shape, none."""
    constants: dict[str, ov.Node] = {}
    seen, waiting = {node.get_name() for node in nodes}, list(nodes)
    while waiting:
        node = waiting.pop()
        kind = node.get_type_name()
        if kind == "Constant":
            constants[node.get_name()] = node
        for index in range(node.get_input_size() if kind != "ShapeOf" else 0):
            source = node.input_value(index).get_node()
            if source.get_name() not in seen:
                seen.add(source.get_name())
                waiting.append(source)
    return list(constants.values())


def is_quantized(output: ov.Output) -> bool:
    """Whether a tensor comes out of FakeQuantize only, at most handed on in another shape or place, or joined."""
    seen, waiting = {output.get_node().get_name()}, [output.get_node()]
    while waiting:
        node = waiting.pop()
        kind = node.get_type_name()
        if kind == "FakeQuantize":
            continue
        if kind != "Concat" and kind not in _KEEP_NUMBERS:
            return False
        count = node.get_input_size() if kind == "Concat" else 1
        for source in (node.input_value(index).get_node() for index in range(count)):
            if source.get_name() not in seen:
                seen.add(source.get_name())
                waiting.append(source)
    return True


def single_element_pooling(data: ov.Output) -> ov.Node:
    """A pooling over single elements, which changes nothing and beyond which the CPU plugin fuses nothing.

    Args:
        data: Tensor of 3 to 5 dimensions.
    """
    ones = [1] * (data.get_partial_shape().rank.get_length() - 2)
    zeros = [0] * len(ones)
    return opset1.max_pool(data, ones, zeros, zeros, ones)


def replace_output(old: ov.Output, new: ov.Output, but: ov.Node | None = None) -> None:
    """Give every consumer of `old` (except the node `but`) `new` instead, which takes over the tensor's names."""
    for target in list(old.get_target_inputs()):
        if but is None or target.get_node().get_friendly_name() != but.get_friendly_name():
            target.replace_source_output(new)
    new.get_tensor().set_names(old.get_tensor().get_names())
    old.get_tensor().set_names(set())
