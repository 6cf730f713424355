"""From a torch module to an OpenVINO model that still holds every layer's codes.

`openvino.convert_model` folds constant arithmetic around a weight into it: a factor in front of a convolution, say, is
multiplied into decoded weights, and the codes are gone. So conversion runs in its two steps, and during the second
one, the general transformations, the codes are inputs of the model, which nothing can fold.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from openvino._offline_transformations import apply_moc_transformations, compress_quantize_weights_transformation
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch import ConversionExtension
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import nn

from nncf_slb.openvino.graph import constant_names
from nncf_slb.search.fast_path import all_layers_run


def convert_torch(
    module: nn.Module, examples: tuple[Any, ...], shapes: Sequence[ov.PartialShape], kept: Collection[str]
) -> ov.Model:
    """Convert a module in eval mode.

    Args:
        module: Module that takes tensors by position and gives a tensor or a tuple of them.
        examples: Inputs to trace with.
        shapes: Shape of each input.
        kept: Friendly names of constants that must stay as they are.

    Raises:
        RuntimeError: If OpenVINO cannot convert the module.
    """
    example = examples if len(examples) > 1 else examples[0]
    frontend = FrontEndManager().load_by_framework("pytorch")
    frontend.add_extension(ConversionExtension("aten::diff", _difference))
    with torch.no_grad(), all_layers_run():
        # Tracing checks itself by two more passes and comparisons of them: more than half of an export's time.
        decoder = TorchScriptPythonDecoder(module, example_input=example, trace_kwargs={"check_trace": False})
        traced = frontend.load(decoder)
        for index, (shape, tensor) in enumerate(zip(shapes, examples, strict=True)):
            place = traced.get_place_by_input_index(index)
            traced.set_partial_shape(place, shape)
            traced.set_element_type(place, _element_type(tensor))
        model = frontend.convert(traced)
    _fold_shapes_of_weights(model)
    stand_ins = _constants_to_parameters(model, kept)
    apply_moc_transformations(model, cf=False, smart_reshape=True)
    compress_quantize_weights_transformation(model)
    for parameter, constant in stand_ins:
        parameter.output(0).replace(constant.output(0))
        model.remove_parameter(parameter)
    _fold_shapes_of_weights(model)  # the transformations ask for more of them
    model.validate_nodes_and_infer_types()
    return model


def _difference(node: Any) -> Any:
    """`torch.diff` of the first order, for which OpenVINO's converter has no rule; transformers' masks use it."""
    data, order, axis = (node.get_input(index) for index in range(3))
    if int(order.get_node().data.item()) != 1:
        raise RuntimeError("torch.diff: orders other than 1 cannot be converted")
    axis = ops.convert(ops.reshape(axis, ops.constant(np.array([1])), False), "i64")
    zero, one, last, stop = (
        ops.constant(np.array([number], np.int64)) for number in (0, 1, -1, np.iinfo(np.int64).max)
    )
    later, earlier = ops.slice(data, one, stop, one, axis), ops.slice(data, zero, last, one, axis)
    return ops.subtract(later, earlier).outputs()


def _element_type(tensor: torch.Tensor) -> ov.Type:
    return ov.Type(torch.empty(0, dtype=tensor.dtype).numpy().dtype)


def _fold_shapes_of_weights(model: ov.Model) -> None:
    """Make constants of the shapes of what is computed from constants: grouped convolutions reshape their weight so."""
    constants = constant_names(model)
    for node in model.get_ops():
        if node.get_type_name() == "ShapeOf" and node.get_name() in constants:
            shape = ops.constant(np.array(node.input_value(0).get_shape(), node.get_element_type().to_dtype()))
            node.output(0).replace(shape.output(0))


def _constants_to_parameters(model: ov.Model, names: Collection[str]) -> list[tuple[ov.Node, ov.Node]]:
    """Replace constants by parameters of their type and shape; gives (parameter, constant)."""
    pairs = []
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_friendly_name() in names:
            parameter = ops.parameter(node.get_output_shape(0), node.get_element_type())
            for target in list(node.output(0).get_target_inputs()):
                target.replace_source_output(parameter.output(0))
            pairs.append((parameter, node))
    model.add_parameters([parameter for parameter, _ in pairs])
    return pairs
