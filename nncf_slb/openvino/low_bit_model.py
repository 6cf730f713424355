"""From a stripped network to an OpenVINO model with packed weights, before it is written."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import openvino as ov
import torch
from torch import Tensor, nn

from nncf_slb.errors import SLBError
from nncf_slb.openvino.batch_size import DROPS_AXES, drops_any_axis, fixed_batch, fixes_batch
from nncf_slb.openvino.call_form import CallForm, call_form, flat_call, flat_outputs
from nncf_slb.openvino.conversion import convert_torch
from nncf_slb.openvino.graph import CodedConstant, LoweringError
from nncf_slb.openvino.ir import last_line
from nncf_slb.openvino.lowering import lower
from nncf_slb.openvino.metadata import DYNAMIC_QUANTIZATION_OFF, write_metadata
from nncf_slb.openvino.targets import LoweringSettings, why_not_binary
from nncf_slb.openvino.tracing_form import tracing_form
from nncf_slb.search.channels import transposed_groups, zero_channels
from nncf_slb.search.runtime import CodedWeight, coded_weights, layer_of_coded_weight, layer_path

logger = logging.getLogger("nncf_slb")

_INPUTS_NOT_BINARY = "its inputs are not 1-bit"


class ExportError(SLBError, RuntimeError):
    """An export that cannot be done, with the reason and the remedy; no file was written."""


def form_of_call(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[CallForm, tuple[Tensor, ...]]:
    """`nncf_slb.openvino.call_form.call_form` for an export, of copies: the network may change its inputs in place.

    Raises:
        ExportError: If an argument is of another kind, or none is a tensor.
    """
    try:
        form, tensors = call_form(module, args, kwargs)
    except TypeError as error:
        raise ExportError(
            f"example_input: {error}; allowed are tensors, numbers, texts and None, in lists, tuples and dictionaries. "
            "Give the network a forward that takes these"
        ) from error
    if not tensors:
        raise ExportError("example_input: received no tensor; pass the tensors that the network takes")
    return form, tuple(tensor.clone() for tensor in tensors)


def in_float32(network: nn.Module, tensors: tuple[Tensor, ...]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network and its inputs as they are, or float32 copies where some numbers are of another floating-point type.

    Files hold float32: the converter takes no bfloat16, and does not mix types.
    """
    numbers = [*network.parameters(), *network.buffers()]
    if all(x.dtype == torch.float32 for x in numbers if x.is_floating_point()):
        return network, tensors
    return copy.deepcopy(network).float(), tuple(x.float() if x.is_floating_point() else x for x in tensors)


def convert(
    stripped: nn.Module,
    examples: tuple[Tensor, ...],
    form: CallForm,
    input_names: list[str] | None = None,
    settings: LoweringSettings | None = None,
    input_shapes: Sequence[Sequence[int]] | None = None,
    wanted_output_names: list[str] | None = None,
) -> ov.Model:
    """OpenVINO model of a stripped model in eval mode, with packed weights.

    Raises:
        ExportError: If only binary convolutions will do, and a layer with 1-bit weights and inputs can't be one, or if
            `input_shapes` leave free what must be fixed, names of outputs are more or fewer than these, or OpenVINO
            cannot convert the network.
    """
    settings = settings or LoweringSettings()
    stripped, examples = in_float32(stripped, examples)
    coded = coded_constants(stripped)
    binary = _binary(stripped, coded, settings)
    static = binary or settings.target_device == "NPU"
    if input_shapes is None:
        input_shapes = [
            [*(example.shape[:1] if static else [-1] * min(1, example.dim())), *example.shape[1:]]
            for example in examples
        ]
    _refuse_free_sizes(input_shapes, binary, settings)
    shapes = [ov.PartialShape(list(shape)) for shape in input_shapes]
    names_of_outputs = output_names(stripped, form, examples, wanted_output_names)
    with tracing_form(stripped), flat_call(stripped, form):
        try:
            model = convert_torch(stripped, examples, shapes, {constant.constant_name for constant in coded})
        except Exception as error:  # those of the converter share no class of their own
            raise ExportError(f"OpenVINO cannot convert the network: {_converters_reason(error)}") from error
        if fixes_batch(model, stripped, examples, input_shapes):
            raise ExportError(fixed_batch(examples))
        if drops_any_axis(model):
            raise ExportError(DROPS_AXES)
        _warn_of_unused(stripped, examples, model, coded)
    try:
        layers = lower(model, coded, settings.target_device, binary)
    except SLBError:
        raise
    except RuntimeError as error:  # types that do not fit, as where the network computes in bfloat16
        raise ExportError(f"OpenVINO cannot hold the low-bit network: {last_line(error)}") from error
    _set_names(model, input_names or ([] if form.is_plain else list(form.names)), names_of_outputs)
    if settings.linear == "exact":
        # Unless told otherwise, the CPU plugin rounds inputs of what it runs as FullyConnected: packed Linear layers,
        # and 1x1 convolutions behind a pooling too.
        model.set_rt_info("0", DYNAMIC_QUANTIZATION_OFF)
    batch = next((int(example.shape[0]) for example in examples if example.dim()), 1)
    write_metadata(model, settings, layers, form, batch)
    return model


def _converters_reason(error: Exception) -> str:
    """The line of the converter's many that says what is wrong."""
    lines = [line.strip(" -") for line in str(error).splitlines()]
    if "Exception:" in lines[:-1]:  # the network itself failed while it was traced
        traced = lines[lines.index("Exception:") + 1]
        return traced or f"{type(error.__cause__ or error).__name__} while the network was traced"
    return next((line for line in lines if line.startswith("No conversion rule")), last_line(error))


@torch.no_grad()
def output_names(
    stripped: nn.Module, form: CallForm, examples: tuple[Tensor, ...], wanted: list[str] | None = None
) -> list[str]:
    """Names of the outputs: those wanted, or where they stand in a dictionary or a named tuple theirs; else none, and
    the converter's stay.

    Raises:
        ExportError: If the network gives no tensor, or another number of them than names are wanted.
    """
    args, kwargs = form.arguments(examples)
    result = stripped(*args, **kwargs)
    names = list(flat_outputs(result))
    if not names:
        raise ExportError(
            f"the network gives {type(result).__name__} without a tensor; allowed are tensors, in lists, tuples and "
            "dictionaries"
        )
    if wanted is not None:
        if len(wanted) != len(names) or len(set(wanted)) != len(wanted):
            raise ExportError(
                f"output_names: received {wanted}; allowed are as many different names as the network has outputs, "
                f"{len(names)}. Name each of them, or leave output_names out"
            )
        return wanted
    return names if any(not part.isdigit() for name in names for part in name.split(".") if part) else []


def _set_names(model: ov.Model, inputs: list[str], outputs: list[str]) -> None:
    for port, name in zip(model.inputs, inputs, strict=False):
        port.get_node().set_friendly_name(name)
        port.set_names({name})
    for port, name in zip(model.outputs, outputs, strict=False):
        port.add_names({name})


def _warn_of_unused(
    stripped: nn.Module, examples: tuple[Tensor, ...], model: ov.Model, coded: Sequence[CodedConstant]
) -> None:
    """Layers that are not in the model; where an output depends on them all the same, something went wrong.

    Raises:
        LoweringError: Naming those.
    """
    present = {node.get_friendly_name() for node in model.get_ops()}
    missing = [constant for constant in coded if constant.constant_name not in present]
    lost = [constant.layer for constant in missing if _matters(stripped, examples, constant.path)]
    if lost:
        raise LoweringError(
            f"the converted model does not hold the codes of: {', '.join(lost)}; put these layers into ignored_scopes"
        )
    if missing:
        logger.warning(
            "slb: no output depends on %s, so the file leaves out these layers",
            ", ".join(constant.layer for constant in missing),
        )


@torch.no_grad()
def _matters(stripped: nn.Module, examples: tuple[Tensor, ...], name: str) -> bool:
    """Whether an output changes with the weights of a layer."""
    module: Any = stripped.get_submodule(name)
    scale = module.scale
    before = flat_outputs(stripped(*examples)).values()
    kept = scale.clone()
    scale.mul_(3.0)
    after = flat_outputs(stripped(*examples)).values()
    scale.copy_(kept)
    return any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def _refuse_free_sizes(shapes: Sequence[Sequence[int]], binary: bool, settings: LoweringSettings) -> None:
    received = [list(shape) for shape in shapes]
    if binary and any(shape[0] == -1 for shape in received):
        advice = 'give a number, or use binary_convolution="never"'
        raise ExportError(f"input_shapes: received {received}; binary convolutions need a fixed batch size: {advice}")
    if settings.target_device == "NPU" and any(-1 in shape for shape in received):
        raise ExportError(f"input_shapes: received {received}; the NPU needs fixed sizes: give numbers")


def coded_constants(stripped: nn.Module) -> list[CodedConstant]:
    """Codes of every layer of a stripped network, in its order."""
    return [_constant(stripped, path, module) for path, module in coded_weights(stripped).items()]


def _constant(stripped: nn.Module, path: str, module: CodedWeight) -> CodedConstant:
    codes, table = module.codes.cpu().numpy(), module.values.cpu().numpy()
    binary = _why_not_binary(stripped, path, module) is None
    layer, _ = layer_of_coded_weight(stripped, path)
    zeros = zero_channels(module.decode().detach(), transposed_groups(layer))
    return CodedConstant(path, layer_path(stripped, path), codes, module.bits, table, binary, zeros)


def _why_not_binary(stripped: nn.Module, path: str, module: CodedWeight) -> str | None:
    layer, quantizer = layer_of_coded_weight(stripped, path)
    if quantizer is None or quantizer.bits != 1:
        return _INPUTS_NOT_BINARY
    return why_not_binary(layer, module.values.tolist())


def _binary(stripped: nn.Module, coded: Sequence[CodedConstant], settings: LoweringSettings) -> bool:
    """Whether to use binary convolutions."""
    possible = any(constant.binary for constant in coded)
    if settings.binary_convolution == "always":
        _refuse_other_than_binary(stripped, settings)
        return possible
    return possible and settings.binary_convolution == "auto" and settings.target_device == "CPU"


def _refuse_other_than_binary(stripped: nn.Module, settings: LoweringSettings) -> None:
    problems = []
    if settings.target_device != "CPU":
        problems.append(f"target_device is {settings.target_device}, and only the CPU has that kernel")
    for name, module in coded_weights(stripped).items():
        reason = _why_not_binary(stripped, name, module) if module.bits == 1 else None
        if reason not in (None, _INPUTS_NOT_BINARY):
            problems.append(f"{layer_path(stripped, name)}: {reason}")
    if problems:
        raise ExportError(
            'binary_convolution: received "always", which these cannot follow; use "auto" or "never":\n  '
            + "\n  ".join(problems)
        )
