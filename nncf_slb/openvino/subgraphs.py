"""Ways around faults in how OpenVINO's CPU plugin makes one kernel, a "subgraph", of several operations.

It does so where sizes are fixed, with float networks too. Measured with OpenVINO 2026.4.1; for probes see `detours`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from nncf_slb.openvino.graph import (
    ELEMENTWISE,
    constant_names,
    following_chain,
    is_quantized,
    replace_output,
    single_element_pooling,
)

_ATTENTION = "ScaledDotProductAttention"


def decompose_group_norms(model: ov.Model) -> None:
    """Write group normalizations as what they consist of.

    Where one meets a tensor of another branch in an elementwise operation, and the batch is fixed to two or more, the
    process dies when the model is compiled.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "GroupNormalization":
            continue
        data, scale, shift = (node.input_value(index) for index in range(3))
        attributes = node.get_attributes()
        grouped = ops.reshape(data, ops.constant(np.array([0, attributes["num_groups"], -1])), special_zero=True)
        normed = ops.mvn(grouped, ops.constant(np.array([2])), True, attributes["epsilon"], "inside_sqrt")
        back = ops.reshape(normed, ops.shape_of(data), special_zero=False)
        rank = data.get_partial_shape().rank.get_length()
        per_channel = ops.constant(np.array([1, -1] + [1] * (rank - 2)))
        scaled = ops.multiply(back, ops.reshape(scale, per_channel, special_zero=False))
        result = ops.add(scaled, ops.reshape(shift, per_channel, special_zero=False))
        result.set_friendly_name(node.get_friendly_name())
        replace_output(node.output(0), result.output(0))


def keep_products_apart(model: ov.Model) -> None:
    """Give each matrix product that follows another one, with only elementwise operations between, a third axis.

    With two, and a fixed batch, the plugin makes one kernel of the whole chain, which computes something else where
    the inputs are quantized (on CPUs with AMX).
    """
    constants = constant_names(model)
    for node in list(_chained_products(model)):
        zero = ops.constant(np.array([0]))
        data = node.input_value(0)
        node.input(0).replace_source_output(ops.unsqueeze(data, zero).output(0))
        node.validate_and_infer_types()
        last = following_chain(node, constants)[-1]
        for follower in following_chain(node, constants)[1:]:
            follower.validate_and_infer_types()
        squeezed = ops.squeeze(last, zero)
        squeezed.set_friendly_name(f"{last.get_friendly_name()}/rows")
        replace_output(last.output(0), squeezed.output(0), but=squeezed)


def _chained_products(model: ov.Model) -> Iterator[ov.Node]:
    behind: set[str] = set()  # names of nodes that only elementwise operations part from a product
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if not node.get_output_size() or not node.get_input_size():
            continue
        rank = node.get_output_partial_shape(0).rank
        if kind == "MatMul" and rank.is_static and rank.get_length() == 2:
            if node.input_value(0).get_node().get_name() in behind and is_quantized(node.input_value(0)):
                yield node
            behind.add(node.get_name())
        elif kind in ELEMENTWISE and any(value.get_node().get_name() in behind for value in node.input_values()):
            behind.add(node.get_name())


def part_attention_from_sums(model: ov.Model) -> None:
    """Put a pooling over single elements, which changes nothing, between attention and a sum with another tensor.

    Where that sum goes into a second one and a matrix product, as in a residual network whose attention has no
    projection behind it, and the batch is fixed, the process dies when the model is compiled.
    """
    constants = constant_names(model)
    for node in model.get_ordered_ops():
        rank = node.get_output_partial_shape(0).rank if _is_attention(node) else None
        if rank is not None and rank.is_static and 3 <= rank.get_length() <= 5 and _meets_a_tensor(node, constants):
            pooled = single_element_pooling(node.output(0))
            pooled.set_friendly_name(f"{node.get_friendly_name()}/parted")
            replace_output(node.output(0), pooled.output(0), but=pooled)


def _is_attention(node: ov.Node) -> bool:
    """Whether a node is attention, or the product of a softmax and values."""
    if node.get_type_name() != "MatMul":
        return bool(node.get_type_name() == _ATTENTION)
    source = node.input_value(0).get_node()
    while source.get_type_name() in ELEMENTWISE:
        source = source.input_value(0).get_node()
    return bool(source.get_type_name() == "Softmax")


def _meets_a_tensor(node: ov.Node, constants: frozenset[str]) -> bool:
    """Whether elementwise operations lead from a node to one that has another tensor as well."""
    waiting, seen = [node], set()
    while waiting:
        for reader in (target.get_node() for target in waiting.pop().output(0).get_target_inputs()):
            if reader.get_type_name() not in ELEMENTWISE or reader.get_name() in seen:
                continue
            sources = [value.get_node().get_name() for value in reader.input_values()]
            if sum(source not in constants for source in sources) > 1:
                return True
            seen.add(reader.get_name())
            waiting.append(reader)
    return False
