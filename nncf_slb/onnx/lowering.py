"""Rewrite of a traced network into packed weights, and pairs of quantizing operators where int8 kernels meet them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, helper

from nncf_slb.onnx.graph import (
    CLAMPS,
    DOMAIN,
    FAKE_QUANTIZE_CHANNELS,
    KEEP_NUMBERS,
    Array,
    Graph,
    attribute,
    is_quantizer,
)
from nncf_slb.onnx.matmul_nbits import matmul_nbits
from nncf_slb.onnx.quantizers import is_sign, lower_quantizers, move_quantizers_up, share_quantizers
from nncf_slb.onnx.weights import CodedArray, WeightWriter, table_factor
from nncf_slb.openvino.graph import CodedConstant, LoweringError
from nncf_slb.openvino.lowering import LoweredLayer
from nncf_slb.search.eight_bits import EIGHT_BITS

# Operators with int8 kernels, and what these ask of the output: that it is quantized as well, or nothing.
_NEEDS_QUANTIZED_OUTPUT = {"Conv": True, "Gemm": False, "MatMul": False}
_LARGEST_BIAS = 2**29
_SHARE_OF_STEP = 0.05  # of the step of an output: what the rounding of a bias may move it by
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


@dataclass(frozen=True)
class _Use:
    """One place where a weight is decoded.

    Attributes:
        weight: Codes and values.
        scale: float32 that broadcasts to the weight.
        output: Name of the decoded weight.
        layer: What `inspect` calls it.
        searched: Whether its codes were searched here; else another tool has quantized the weight.
    """

    weight: CodedArray
    scale: Array
    output: str
    layer: str
    searched: bool


def lower(graph: Graph, coded: Sequence[CodedConstant], writer: WeightWriter, contrib: bool) -> list[LoweredLayer]:
    """Replace codes by packed constants and quantizers by standard operators, in place.

    Args:
        graph: Traced network.
        coded: Its layers.
        writer: Writes weights.
        contrib: Whether Linear layers with unquantized inputs may become MatMulNBits.

    Returns:
        What became of each searched layer, in the order of the graph.

    Raises:
        LoweringError: If the graph does not hold a layer's codes in a form that can be packed.
    """
    uses = [*_coded_uses(graph, coded), *_quantized_weights(graph)]
    share_quantizers(graph)
    move_quantizers_up(graph)
    layers: list[LoweredLayer] = []
    for use in uses:
        form = _lower_use(graph, use, writer, contrib)
        if use.searched:
            stored = (
                f"uint{use.weight.bits + use.weight.bits % 2}" if form == "contrib" else writer.stored(use.weight.bits)
            )
            layers.append(LoweredLayer(use.layer, use.weight.bits, use.weight.codes.shape, stored, form))
    _keep_float_weights(graph)
    lower_quantizers(graph)
    return layers


def _keep_float_weights(graph: Graph) -> None:
    """Put a Max that changes nothing behind layers with float weights and quantized inputs whose outputs are quantized.

    ONNX Runtime (1.32) would round such weights to 8 bits itself.
    """
    for node in [node for node in graph.nodes if node.op_type in _WEIGHTED]:
        weight = graph.producer(node.input[1])
        if (weight is not None and weight.op_type == "DequantizeLinear") or _quantizer_of(graph, node.input[0]) is None:
            continue
        if _reaches_quantizer(graph, node.output[0]):
            lowest = graph.constant("lowest", np.finfo(np.float32).min)
            output = node.output[0]
            node.output[0] = graph.new_name(f"{output}/numbers")
            graph.nodes.append(helper.make_node("Max", [node.output[0], lowest], [output]))


def _reaches_quantizer(graph: Graph, name: str) -> bool:
    """Whether a tensor is quantized, at most in another shape, clamped or normalized."""
    passing = KEEP_NUMBERS | CLAMPS | {"BatchNormalization", "Add", "Mul"}
    return any(
        is_quantizer(reader) or (reader.op_type in passing and _reaches_quantizer(graph, reader.output[0]))
        for reader in graph.consumers(name)
    )


def _coded_uses(graph: Graph, coded: Sequence[CodedConstant]) -> list[_Use]:
    """Each ``Cast(codes) * scale`` in the graph; the exporter keeps the names of buffers, and equal ones once."""
    named = {f"{constant.path}.codes".lstrip("."): constant for constant in coded}
    waiting = list(coded)
    uses: list[_Use] = []
    wrong = []
    for cast in [node for node in graph.nodes if node.input and node.input[0] in named]:
        owner = _owner(cast, named[cast.input[0]], waiting)
        waiting = [each for each in waiting if each is not owner]
        for multiply in graph.consumers(cast.output[0]):
            scale = next((graph.constants[name] for name in multiply.input if name in graph.constants), None)
            if cast.op_type != "Cast" or multiply.op_type != "Mul" or scale is None:
                wrong.append(owner.layer)
                continue
            graph.remove(multiply)
            codes = graph.constants[cast.input[0]]
            weight = CodedArray(named[cast.input[0]].layer or "weight", codes, owner.table, owner.bits)
            uses.append(_Use(weight, scale, multiply.output[0], owner.layer, True))
        graph.remove(cast)
    if wrong:
        raise LoweringError(
            "the traced network reads the codes of these layers not as numbers; put these layers into ignored_scopes: "
            + ", ".join(dict.fromkeys(wrong))
        )
    return uses


def _owner(cast: NodeProto, constant: CodedConstant, waiting: list[CodedConstant]) -> CodedConstant:
    """The layer that a conversion of codes belongs to: the exporter holds equal codes once, under one layer's name."""
    scope = cast.name.rpartition("/")[0].rpartition("/")[2]
    equal = [
        each
        for each in waiting
        if each.bits == constant.bits
        and np.array_equal(each.table, constant.table)
        and np.array_equal(each.codes, constant.codes)
    ]
    return next((each for each in equal if scope and f".{each.path}".endswith(f".{scope}")), (equal or [constant])[0])


def _quantized_weights(graph: Graph) -> list[_Use]:
    """Float weights behind other tools' quantizers, as codes of 8 bits; where their zero is no level, as numbers."""
    uses = []
    for node in [node for node in graph.nodes if node.domain == DOMAIN and node.input[0] in graph.constants]:
        name, axis = node.input[0], 0
        weight, scale, zero_point = (graph.constants[each] for each in node.input)
        if node.op_type == FAKE_QUANTIZE_CHANNELS:
            axis = int(attribute(node, "axis"))
            shape = [-1 if dimension == axis else 1 for dimension in range(weight.ndim)]
            scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
        lowest, highest = int(attribute(node, "lowest")), int(attribute(node, "highest"))
        levels = np.clip(np.rint(weight * (np.float32(1) / scale) + zero_point), lowest, highest) - zero_point
        graph.remove(node)
        if np.abs(levels).max(initial=0) > 127:
            graph.replace(node.output[0], graph.constant(f"{name}.quantized", (levels * scale).astype(np.float32)))
            continue
        table = np.arange(-127, 128).astype(np.int8)
        coded = CodedArray(name, (levels + 127).astype(np.uint8), table, EIGHT_BITS)
        full = np.broadcast_to(scale, [n if d == axis else 1 for d, n in enumerate(weight.shape)])
        uses.append(_Use(coded, full.astype(np.float32), node.output[0], name.removesuffix(".weight"), False))
    return uses


def _lower_use(graph: Graph, use: _Use, writer: WeightWriter, contrib: bool) -> str:
    """Write one weight; gives the form."""
    operations = graph.consumers(use.output)
    if len(operations) == 1 and use.output not in graph.outputs:
        (operation,) = operations
        transposition = operation if operation.op_type == "Transpose" and use.weight.codes.ndim == 2 else None
        if transposition is not None:
            following = graph.only_reader(transposition.output[0])
            operation = following if following is not None else operation
        if _is_integer(graph, operation, use, transposition):
            _use_integer(graph, operation, use, writer, transposition)
            return "integer"
        if contrib and _use_contrib(graph, operation, use, transposition):
            return "contrib"
    weighted = bool(operations) and all(node.op_type in _WEIGHTED | {"Transpose"} for node in operations)
    graph.replace(use.output, writer.floating(use.weight, use.scale, use.layer))
    return "float" if weighted else "computed"


def _is_integer(graph: Graph, operation: NodeProto, use: _Use, transposition: NodeProto | None) -> bool:
    """Whether a layer's kernel in int8 is at hand: quantized inputs, int8 values, and what the kernel asks for."""
    kind, port = operation.op_type, _port(operation, use, transposition)
    if kind not in _NEEDS_QUANTIZED_OUTPUT or port != 1 or not use.weight.is_integer:
        return False
    if (kind == "MatMul") != (transposition is not None) or _channel_scale(use) is None:
        return False
    if kind == "Gemm" and not _is_plain_gemm(operation):
        return False
    before, behind = _quantizer_of(graph, operation.input[0]), _quantizer_behind(graph, operation)
    if before is None or not _NEEDS_QUANTIZED_OUTPUT[kind]:
        return before is not None
    return behind is not None and _bias_fits(graph, operation, use, before, behind)


def _port(operation: NodeProto, use: _Use, transposition: NodeProto | None) -> int:
    name = use.output if transposition is None else transposition.output[0]
    return list(operation.input).index(name) if name in operation.input else -1


def _is_plain_gemm(gemm: NodeProto) -> bool:
    factors = attribute(gemm, "alpha", 1.0), attribute(gemm, "beta", 1.0)
    return factors == (1.0, 1.0) and attribute(gemm, "transB", 0) == 1 and attribute(gemm, "transA", 0) == 0


def _channel_scale(use: _Use) -> Array | None:
    """Scale ``[output channels]`` along dimension 0; None where it changes along another one."""
    if any(length != 1 for length in use.scale.shape[1:]):
        return None
    return np.broadcast_to(use.scale.reshape(-1), use.weight.codes.shape[:1]).astype(np.float32)


def _quantizer_of(graph: Graph, name: str) -> NodeProto | None:
    """The quantizer that a tensor comes out of, at most in another shape."""
    node = graph.producer(name)
    while node is not None and node.op_type in KEEP_NUMBERS:
        node = graph.producer(node.input[0])
    return node if is_quantizer(node) else None


def _bias_fits(graph: Graph, operation: NodeProto, use: _Use, before: NodeProto, behind: NodeProto) -> bool:
    """Whether a bias in whole numbers of 32 bits, as int8 kernels want it, moves no output by a share of its step.

    A channel whose batch norm has a tiny factor has a tiny step; one with a large factor a coarse one.
    """
    own = _channel_scale(use)
    if own is None:
        return False
    scale, bias = _folded(graph, operation, own)
    factor = 1.0 if use.weight.bits == EIGHT_BITS else table_factor(use.weight.table)
    step = float(graph.constants[before.input[1]].item()) * np.abs(scale) / factor
    allowed = _SHARE_OF_STEP * float(graph.constants[behind.input[1]].item())
    fits = (np.abs(bias) <= _LARGEST_BIAS * step) & (step / 2 <= allowed)
    return bool((fits | (bias == 0)).all() and (step > 0).all())


def _quantizer_behind(graph: Graph, operation: NodeProto) -> NodeProto | None:
    """The quantizer that alone reads a layer's output, behind its batch norm; None for signs, which stay in float."""
    norm = _norm_behind(graph, operation)
    reader = graph.only_reader((norm or operation).output[0])
    return reader if reader is not None and is_quantizer(reader) and not is_sign(reader) else None


def _norm_behind(graph: Graph, operation: NodeProto) -> NodeProto | None:
    """Batch norm that alone reads a layer's output, and whose statistics are constants."""
    node = graph.only_reader(operation.output[0])
    if node is None or node.op_type != "BatchNormalization" or operation.op_type == "MatMul":
        return None
    return node if all(name in graph.constants for name in node.input[1:]) else None


def _use_integer(
    graph: Graph, operation: NodeProto, use: _Use, writer: WeightWriter, transposition: NodeProto | None
) -> None:
    scale = _channel_scale(use)
    assert scale is not None
    before, behind = _quantizer_of(graph, operation.input[0]), _quantizer_behind(graph, operation)
    keeps_bias = before is not None and behind is not None and _bias_fits(graph, operation, use, before, behind)
    scale, bias = _folded(graph, operation, scale)
    norm = _norm_behind(graph, operation)
    if norm is not None:
        del operation.input[2:]
        operation.input.append(graph.constant(f"{use.weight.name}.bias", bias.astype(np.float32)))
        graph.remove(norm)
        graph.replace(norm.output[0], operation.output[0])
    if transposition is not None:
        operation.input[1] = writer.integer(use.weight.transposed(), scale, 1, use.layer)
        graph.remove(transposition)
        return
    operation.input[1] = writer.integer(use.weight, scale, 0, use.layer, zero_points=operation.op_type == "Gemm")
    if operation.op_type == "Gemm" and len(operation.input) > 2 and not keeps_bias:
        _take_bias_out(graph, operation)


def _take_bias_out(graph: Graph, gemm: NodeProto) -> None:
    """Add the bias behind the product, where it is not rounded.

    With a float bias and a float output there is no QGemm (ONNX Runtime 1.32).
    """
    bias, output = gemm.input[2], gemm.output[0]
    del gemm.input[2:]
    gemm.output[0] = graph.new_name(f"{output}/product")
    graph.nodes.append(helper.make_node("Add", [gemm.output[0], bias], [output], name=f"{output}/biased"))


def _folded(graph: Graph, operation: NodeProto, scale: Array) -> tuple[Array, Array]:
    """Scale and bias of a layer with the batch norm behind it, ``[output channels]`` each."""
    own = operation.input[2] if len(operation.input) > 2 else ""
    bias: Array = graph.constants[own].astype(np.float64) if own in graph.constants else np.zeros(len(scale))
    norm = _norm_behind(graph, operation)
    if norm is not None:
        gamma, beta, mean, variance = (graph.constants[name].astype(np.float64) for name in norm.input[1:])
        factor = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
        scale, bias = scale * factor, (bias - mean) * factor + beta
    return scale.astype(np.float32), bias


def _use_contrib(graph: Graph, operation: NodeProto, use: _Use, transposition: NodeProto | None) -> bool:
    """Make a Linear layer a MatMulNBits; False where it has no such form."""
    scale = _channel_scale(use)
    fits = (operation.op_type == "Gemm" and _is_plain_gemm(operation)) or (
        operation.op_type == "MatMul" and transposition is not None
    )
    if scale is None or not fits or use.weight.codes.ndim != 2 or _port(operation, use, transposition) != 1:
        return False
    product = matmul_nbits(graph, use.weight, scale, operation.input[0], use.layer)
    if product is None:
        return False
    if len(operation.input) > 2:
        product = graph.add("Add", [product, operation.input[2]], f"{operation.output[0]}/biased")
    graph.remove(*(node for node in (operation, transposition) if node is not None))
    graph.replace(operation.output[0], product)
    return True
