"""Ways around faults of OpenVINO's CPU plugin, which show in any network, not only in those of this package.

Each was measured with OpenVINO 2026.4.1, and each has a probe in ``benchmarks/faults`` which a test runs, and which
fails on the day when the plugin is right, so that the detour can go. More of them, which concern one form of weights
only, stand where that form is made; ``docs/runtime-faults.md`` lists all.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from nncf_slb.openvino.graph import (
    ELEMENTWISE,
    INT8_SUFFIX,
    constant_names,
    following_chain,
    is_quantized,
    replace_output,
)
from nncf_slb.openvino.subgraphs import decompose_group_norms, keep_products_apart, part_attention_from_sums

# Small enough to change no float32 output of a layer, yet no zero, which the plugin would drop. Negative: the sign of
# an output of exactly zero stays -1.
_NOTHING = -1e-30
_TRANSPOSED = {"ConvolutionBackpropData", "GroupConvolutionBackpropData"}
_CONVOLUTIONS = {"Convolution", "GroupConvolution", *_TRANSPOSED}
_REDUCTIONS = {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd"}
_NORMS = {"MVN", "NormalizeL2"}
_MOVING = {
    "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "StridedSlice", "Pad", "Split", "VariadicSplit", "Concat",
    "Gather", "Tile", "Broadcast", "MaxPool", "ReduceMax", "ReduceMin", "Interpolate", "Relu", "DepthToSpace",
    "SpaceToDepth", "ShuffleChannels",
}  # fmt: skip


def take_detours(model: ov.Model) -> None:
    """Rewrite a lowered model, in place, so that the CPU plugin computes what it says."""
    decompose_group_norms(model)
    keep_axes_of_reductions(model)
    give_convolutions_a_bias(model)
    keep_norms_in_float(model)
    average_and_clamp_in_float(model)
    keep_requantizations(model)
    spread_in_float(model)
    keep_other_axes_unfused(model)
    keep_single_channels_unfused(model)
    stride_before_convolving(model)
    keep_products_apart(model)
    part_attention_from_sums(model)
    model.validate_nodes_and_infer_types()


def give_convolutions_a_bias(model: ov.Model) -> None:
    """Give every convolution with quantized inputs and no bias one that changes nothing.

    Without one, where its own output has several consumers and one of them is the quantization of the next layer, and
    a size of its input is free, the plugin loses its scale on the way to the others.
    """
    constants = constant_names(model)
    for node in model.get_ordered_ops():
        if node.get_type_name() not in _CONVOLUTIONS or not is_quantized(node.input_value(0)):
            continue
        last = following_chain(node, constants)
        if any(follower.get_type_name() in ("Add", "Subtract") for follower in last):
            continue
        shape = [1] * node.get_output_partial_shape(0).rank.get_length()
        if node.get_type_name() in _TRANSPOSED:  # there the kernel for AMX reads one number for each channel
            shape[1] = node.get_output_partial_shape(0)[1].get_length()
        biased = ops.add(node, ops.constant(np.full(shape, _NOTHING, np.float32)))
        biased.set_friendly_name(f"{node.get_friendly_name()}/bias")
        replace_output(node.output(0), biased.output(0), but=biased)


def keep_axes_of_reductions(model: ov.Model) -> None:
    """Let reductions keep their axes, and drop them behind.

    The plugin fuses what follows into the reduction; where that dropped axes, factors and quantizations for each
    channel then go along the wrong axis.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() not in _REDUCTIONS or node.get_attributes()["keep_dims"]:
            continue
        axes = node.input_value(1)
        node.set_attribute("keep_dims", True)
        node.validate_and_infer_types()
        squeezed = ops.squeeze(node, axes)
        squeezed.set_friendly_name(f"{node.get_friendly_name()}/dropped")
        replace_output(node.output(0), squeezed.output(0), but=squeezed)


def keep_norms_in_float(model: ov.Model) -> None:
    """Part normalizations from the quantization in front of them by an operation that changes nothing.

    The plugin normalizes the integers instead of the numbers, which is the same but for the small number that is added
    to the variance: where the variance is small, the result is something else.
    """
    if not any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()):
        return
    for node in model.get_ordered_ops():
        if node.get_type_name() in _NORMS:
            node.input(0).replace_source_output(_unchanged(node.input_value(0)))


def average_and_clamp_in_float(model: ov.Model) -> None:
    """Part poolings that average and clamps from the quantization in front of them.

    On integers the plugin rounds an average, and cuts off what a bound of a clamp has behind the point, before it
    quantizes again: up to one level is lost.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("AvgPool", "Clamp") and is_quantized(node.input_value(0)):
            node.input(0).replace_source_output(_unchanged(node.input_value(0)))


def keep_requantizations(model: ov.Model) -> None:
    """Part a quantization from the one that its numbers come from.

    Where both have nearly the same range, the plugin leaves out the second, and up to one level is lost.
    """
    for node in model.get_ordered_ops():
        same_levels = node.get_friendly_name().endswith(INT8_SUFFIX)  # the second is the identity on the first's levels
        if node.get_type_name() == "FakeQuantize" and not same_levels and _behind_quantizer(node):
            node.input(0).replace_source_output(_unchanged(node.input_value(0)))


def _behind_quantizer(node: ov.Node) -> bool:
    """Whether all numbers of a node's data come out of quantizers, at most moved, repeated or the larger of several."""
    waiting, seen = [node.input_value(0).get_node()], set()
    while waiting:
        source = waiting.pop()
        kind = source.get_type_name()
        if source.get_name() in seen or kind == "FakeQuantize":
            continue
        if kind not in _MOVING:
            return False
        seen.add(source.get_name())
        count = source.get_input_size() if kind == "Concat" else 1
        waiting += [source.input_value(index).get_node() for index in range(count)]
    return True


def spread_in_float(model: ov.Model) -> None:
    """Part a quantized tensor of one number a channel from the sum or product that spreads it over an image.

    Where the other tensor has a scale for each channel, or comes from a Concat of several, the plugin loses the scales
    if the batch is free and is 1 (on CPUs with AVX512): results are tens of thousands times too large.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("Add", "Subtract", "Multiply"):
            continue
        if not all(is_quantized(node.input_value(index)) for index in range(2)):
            continue
        for index in range(2):
            if _is_spread(node.input_value(index), node.output(0)):
                node.input(index).replace_source_output(_unchanged(node.input_value(index)))


def _is_spread(data: ov.Output, result: ov.Output) -> bool:
    """Whether an axis behind the second has one number in a tensor and may have more in the result."""
    lengths, result_lengths = (list(port.get_partial_shape())[2:] for port in (data, result))
    return any(
        length == 1 and result_length != 1 for length, result_length in zip(lengths, result_lengths, strict=False)
    )


def _unchanged(data: ov.Output) -> ov.Output:
    """The larger of each number and the least there is: an operation that the plugin neither fuses nor quantizes."""
    lowest = np.finfo(np.float32).min
    node = data.get_node()
    if node.get_type_name() == "Maximum":
        other = node.input_value(1).get_node()
        if other.get_type_name() == "Constant" and (other.data == lowest).all():
            return data  # a detour that was taken before
    return ops.maximum(data, ops.constant(np.array(lowest, np.float32))).output(0)


def keep_other_axes_unfused(model: ov.Model) -> None:
    """Part a matrix product from a quantization with ranges along another axis than its output's last.

    NNCF makes such ones behind Linear layers of tokens. The plugin fuses them into the product along the last axis.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        shapes = [list(node.input_value(port).get_shape()) for port in range(1, 5)]
        if any(length != 1 for shape in shapes for length in shape[:-1]) and _behind(node, {"MatMul"}) is not None:
            node.input(0).replace_source_output(_unchanged(node.input_value(0)))


def keep_single_channels_unfused(model: ov.Model) -> None:
    """Part a transposed convolution to one channel from the quantization behind it.

    With a bias and a free batch, the int8 kernel for AMX computes something else.
    """
    for node in model.get_ordered_ops():
        convolution = _behind(node, _TRANSPOSED) if node.get_type_name() == "FakeQuantize" else None
        if convolution is not None and convolution.get_output_partial_shape(0)[1] == 1:
            node.input(0).replace_source_output(_unchanged(node.input_value(0)))


def _behind(node: ov.Node, kinds: set[str]) -> ov.Node | None:
    """The operation of these kinds that elementwise operations on one tensor alone part a node from, if any."""
    while True:
        node = node.input_value(0).get_node()
        if node.get_type_name() in kinds:
            return node
        if node.get_type_name() not in ELEMENTWISE:
            return None


def stride_before_convolving(model: ov.Model) -> None:
    """Pad and stride in front of 1x1 convolutions with a stride, where they are padded, their inputs quantized, or only
    elementwise operations part them from a split.

    The plugin moves strides of 1x1 convolutions to the operations in front of them, as if there was no padding between;
    and its int8 kernel for AVX2 gives other numbers in some calls, where the input channels are 8 more than a multiple
    of 16 (now and then only, so no test shows it). Where the strides would move behind a split, it fails to compile.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        attributes = node.get_attributes()
        strides, begins, ends = (list(attributes[name]) for name in ("strides", "pads_begin", "pads_end"))
        kernel = list(node.input_value(1).get_partial_shape())[-len(strides) :]
        if any(length != 1 for length in kernel) or all(stride == 1 for stride in strides):
            continue
        padded = any(begins + ends)
        if not padded and not is_quantized(node.input_value(0)) and not _behind_split(node):
            continue
        data = node.input_value(0)
        if padded:
            zero = ops.convert_like(ops.constant(np.float32(0)), data)
            data = ops.pad(data, np.array([0, 0, *begins]), np.array([0, 0, *ends]), "constant", zero).output(0)
        axes = np.arange(2, 2 + len(strides))
        stop = np.full(len(strides), np.iinfo(np.int32).max)
        strided = ops.slice(data, np.zeros(len(strides), np.int64), stop, np.array(strides), axes)
        node.input(0).replace_source_output(strided.output(0))
        node.set_attribute("strides", [1] * len(strides))
        node.set_attribute("pads_begin", [0] * len(strides))
        node.set_attribute("pads_end", [0] * len(strides))


def _behind_split(node: ov.Node) -> bool:
    """Whether elementwise operations alone part a node's data from an operation of several outputs."""
    waiting, seen = [node.input_value(0).get_node()], set()
    while waiting:
        source = waiting.pop()
        if source.get_output_size() > 1:
            return True
        if source.get_type_name() in ELEMENTWISE and source.get_name() not in seen:
            seen.add(source.get_name())
            waiting += [value.get_node() for value in source.input_values()]
    return False
