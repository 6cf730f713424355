"""Quantized inputs as pairs of QuantizeLinear and DequantizeLinear, next to the layers on both sides.

ONNX Runtime runs a convolution in int8 where its output goes into QuantizeLinear directly (measured with 1.32). So a
ReLU, or another clamp, becomes bounds of the levels, and a quantizer moves in front of a max pooling and of changes of
the shape. Fewer levels than a byte has are a Clip between the two, in integers.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from nncf_slb.onnx.graph import CLAMPS, KEEP_NUMBERS, Graph, attribute, is_quantizer

_BYTE = 255
_SHIFT = 128  # signed levels as unsigned ones: the kernels of activations without a sign are the faster ones


def is_sign(node: NodeProto) -> bool:
    """Whether a quantizer is the sign, which the traced form writes as two levels."""
    return int(attribute(node, "highest")) - int(attribute(node, "lowest")) == 1


def share_quantizers(graph: Graph) -> None:
    """Keep one of the quantizers of a tensor with the same levels."""
    first: dict[tuple[object, ...], NodeProto] = {}
    for node in [node for node in graph.nodes if is_quantizer(node)]:
        kept = first.setdefault(_key(graph, node), node)
        if kept is not node:
            graph.remove(node)
            graph.replace(node.output[0], kept.output[0])


def _key(graph: Graph, node: NodeProto) -> tuple[object, ...]:
    scale, zero_point = (graph.constants[name].tobytes() for name in node.input[1:])
    return node.input[0], scale, zero_point, attribute(node, "lowest"), attribute(node, "highest")


def move_quantizers_up(graph: Graph) -> None:
    """Bring quantizers to the layers whose outputs they quantize, where rounding and what lies between commute."""
    waiting = [node for node in graph.nodes if is_quantizer(node) and not is_sign(node)]
    while waiting:
        node = waiting.pop()
        before = graph.producer(node.input[0])
        if before is None or graph.only_reader(node.input[0]) is not node:
            continue
        if before.op_type in CLAMPS and _take_in_clamp(graph, node, before):
            waiting.append(node)
        elif before.op_type in KEEP_NUMBERS and len(before.output) == 1:
            _swap(graph, node, before)
            waiting.append(node)


def _take_in_clamp(graph: Graph, node: NodeProto, clamp: NodeProto) -> bool:
    """Narrow the levels to what a clamp lets through; False if its bounds are no constants."""
    bounds = [0.0, None]
    if clamp.op_type == "Clip":
        named = [*clamp.input[1:], "", ""][:2]
        if any(name and name not in graph.constants for name in named):
            return False
        bounds = [float(graph.constants[name]) if name else None for name in named]
    scale, zero_point = (float(graph.constants[name]) for name in node.input[1:])
    lowest, highest = int(attribute(node, "lowest")), int(attribute(node, "highest"))
    if bounds[0] is not None:
        lowest = max(lowest, min(highest, round(bounds[0] / scale + zero_point)))
    if bounds[1] is not None:
        highest = min(highest, max(lowest, round(bounds[1] / scale + zero_point)))
    if lowest == highest:
        return False
    _set_levels(node, lowest, highest)
    node.input[0] = clamp.input[0]
    graph.remove(clamp)
    return True


def _set_levels(node: NodeProto, lowest: int, highest: int) -> None:
    for each in node.attribute:
        if each.name in ("lowest", "highest"):
            each.i = lowest if each.name == "lowest" else highest


def _swap(graph: Graph, quantizer: NodeProto, before: NodeProto) -> None:
    """``quantizer(before(x))`` as ``quantizer(before(quantizer(x)))``; the shape of x is asked for behind it too.

    The second time changes nothing, and shows the runtime that what it reads is quantized.
    """
    inner, outer = before.output[0], quantizer.output[0]
    for reader in graph.consumers(before.input[0]):
        if reader.op_type == "Shape":
            reader.input[0] = inner
    quantizer.input[0], before.input[0] = before.input[0], inner
    quantizer.output[0], before.output[0] = inner, graph.new_name(f"{outer}/moved")
    again = NodeProto()
    again.CopyFrom(quantizer)
    again.input[0], again.output[0] = before.output[0], outer
    graph.nodes.append(again)


def lower_quantizers(graph: Graph) -> None:
    """Write every quantizer that is left in standard operators."""
    for node in [node for node in graph.nodes if is_quantizer(node)]:
        graph.remove(node)
        output = _sign(graph, node) if is_sign(node) else _pair(graph, node)
        graph.replace(node.output[0], output)


def _pair(graph: Graph, node: NodeProto) -> str:
    scale, zero_point = (graph.constants[name] for name in node.input[1:])
    lowest, highest = int(attribute(node, "lowest")), int(attribute(node, "highest"))
    shift = _SHIFT if min(lowest, int(zero_point.reshape(()))) < 0 else 0
    name = node.output[0]
    step = graph.constant(f"{name}.scale", scale.astype(np.float32).reshape(()))
    zero = graph.constant(f"{name}.zero_point", np.uint8(int(zero_point.reshape(())) + shift))
    integers = graph.add("QuantizeLinear", [node.input[0], step, zero], f"{name}/quantized")
    if lowest + shift > 0 or highest + shift < _BYTE:
        bounds = [graph.constant(f"level.{level + shift}", np.uint8(level + shift)) for level in (lowest, highest)]
        integers = graph.add("Clip", [integers, *bounds], f"{name}/clipped")
    return graph.add("DequantizeLinear", [integers, step, zero], f"{name}/dequantized")


def _sign(graph: Graph, node: NodeProto) -> str:
    """-1 and 1, as integers that DequantizeLinear gives back."""
    name = node.output[0]
    zero, one = graph.constant("zero", np.float32(0)), graph.constant("one", np.float32(1))
    positive = graph.add("Greater", [node.input[0], zero], f"{name}/positive")
    levels = [graph.constant(f"level.{level}", np.uint8(level)) for level in (2, 0)]
    integers = graph.add("Where", [positive, *levels], f"{name}/integers")
    return graph.add("DequantizeLinear", [integers, one, graph.constant("level.1", np.uint8(1))], f"{name}/sign")
