"""Export of a searched network to ONNX."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper
from torch import nn

from nncf_slb.config.devices import OnnxTypes
from nncf_slb.config.section import OnnxConfig
from nncf_slb.files import new_file
from nncf_slb.onnx.graph import DOMAIN, Graph
from nncf_slb.onnx.lowering import lower
from nncf_slb.onnx.matmul_nbits import CONTRIB
from nncf_slb.onnx.metadata import write_metadata
from nncf_slb.onnx.tracing import BASE_OPSET, trace
from nncf_slb.onnx.weights import NATIVE_OPSETS, WeightWriter
from nncf_slb.openvino.batch_size import fixed_batch, shapes_of_twice_the_batch
from nncf_slb.openvino.call_form import flat_call
from nncf_slb.openvino.low_bit_model import ExportError, coded_constants, in_float32, output_names
from nncf_slb.openvino.request import ExportRequest
from nncf_slb.openvino.stripped_network import export_defaults
from nncf_slb.search.batchnorm import preserved_modes
from nncf_slb.search.runtime import coded_weights

SUFFIX = ".onnx"
NEWEST_OPSET = 25
_LARGEST_FILE = 2**31 - 2**24  # bytes; protobuf's limit, and some of them for the graph


def export_onnx(
    request: ExportRequest, types: OnnxTypes | None = None, contrib: bool | None = None, opset: int | None = None
) -> None:
    """Write an ONNX file; arguments as for `nncf_slb.export_openvino`.

    Raises:
        ExportError: On a setting that ONNX cannot follow, a network that cannot be converted or whose file would be
            larger than ONNX allows.
        nncf_slb.openvino.graph.LoweringError: If a layer's weights can't be packed.
    """
    settings = _settings(request, types, contrib)
    version = _opset(request.stripped, settings.types, opset)
    _refuse_large(request.stripped)
    with preserved_modes(request.stripped):
        request.stripped.eval()
        model = _converted(request, settings, version)
    with new_file(request.target) as partial:
        onnx.save(model, partial)


def _converted(request: ExportRequest, settings: OnnxConfig, opset: int) -> onnx.ModelProto:
    network, examples = in_float32(request.stripped, request.examples)
    names = request.input_names or _input_names(request)
    outputs = output_names(network, request.form, examples, request.output_names) or None
    shapes = request.input_shapes or [[*[-1] * min(1, example.dim()), *example.shape[1:]] for example in examples]
    free = {name: _free(name, list(shape)) for name, shape in zip(names, shapes, strict=True)}
    traced = trace(network, examples, request.form, names, outputs, free, opset)
    with flat_call(network, request.form):
        twice = shapes_of_twice_the_batch(network, examples, shapes)
    if twice is not None and not _may_have(traced, twice[1]):
        raise ExportError(fixed_batch(examples))
    graph = Graph(traced)
    writer = WeightWriter(graph, settings.types, opset)
    layers = lower(graph, coded_constants(network), writer, settings.contrib)
    model = graph.model()
    contributed = any(node.domain == CONTRIB for node in model.graph.node)
    domains = {"": opset, **({CONTRIB: 1} if contributed else {})}
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in domains.items())
    model.ir_version = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    left = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    if left:
        raise ExportError(f"the network cannot be converted to ONNX: {', '.join(sorted(left))} within a branch")
    batch = next((int(example.shape[0]) for example in examples if example.dim()), 1)
    write_metadata(model, layers, request.form, batch)
    return model


def _may_have(model: onnx.ModelProto, shapes: list[list[int]]) -> bool:
    """Whether outputs may have these shapes, as far as the graph says."""
    stated = [[d.dim_value for d in output.type.tensor_type.shape.dim] for output in model.graph.output]
    return all(
        len(one) != len(other) or all(a in (0, b) for a, b in zip(one, other, strict=True))
        for one, other in zip(stated, shapes, strict=False)
    )


def _input_names(request: ExportRequest) -> list[str]:
    if request.form.is_plain:
        return [f"input_{index}" for index in range(len(request.examples))]
    return list(request.form.names)


def _free(name: str, shape: list[int]) -> Mapping[int, str]:
    """Names of the sizes of an input that are free; the batch is the same for all inputs."""
    return {axis: f"{name}_{axis}" if axis else "batch" for axis, length in enumerate(shape) if length == -1}


def _settings(request: ExportRequest, types: OnnxTypes | None, contrib: bool | None) -> OnnxConfig:
    if types not in (None, "planes", "native"):
        raise ExportError(f"onnx_types: received {types!r}; allowed are planes, native")
    defaults = export_defaults(request.model)
    if defaults is not None and defaults.lowering.binary_convolution == "always":
        raise ExportError(
            'openvino.binary_convolution: received "always", and ONNX has no binary convolutions; allowed with '
            f'{SUFFIX} are "auto" and "never". Change the config, or export to .xml'
        )
    chosen = OnnxConfig() if defaults is None else defaults.onnx
    return OnnxConfig(types=types or chosen.types, contrib=chosen.contrib if contrib is None else contrib)


def _opset(stripped: nn.Module, types: OnnxTypes, opset: int | None) -> int:
    """Version of the operators to use: the one asked for, or the first that holds the types."""
    widths = {module.bits for module in coded_weights(stripped).values()}
    first = NATIVE_OPSETS[4] if types == "native" else BASE_OPSET
    if opset is None:
        return NATIVE_OPSETS[2] if types == "native" and widths & {1, 2} else first
    if not first <= opset <= NEWEST_OPSET:
        other = "" if types == "planes" else f', or with "planes" from {BASE_OPSET} on'
        raise ExportError(
            f"opset: received {opset}; packed weights ({types}) need operators of the opsets {first} to "
            f"{NEWEST_OPSET}{other}: save_format onnx_{first} to onnx_{NEWEST_OPSET}, or onnx for the first of them"
        )
    return opset


def _refuse_large(stripped: nn.Module) -> None:
    size = sum(tensor.nbytes for tensor in stripped.state_dict().values())
    if size > _LARGEST_FILE:
        raise ExportError(
            f"the network takes {size:,} bytes while it is converted, and ONNX allows {_LARGEST_FILE:,} in one file; "
            "export to .xml, which has no limit"
        )
