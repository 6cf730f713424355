"""Export of a searched network to OpenVINO IR or ONNX."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from torch import Tensor, nn

from nncf_slb.config.devices import BinaryConvolution, find_target_device
from nncf_slb.errors import SLBError
from nncf_slb.files import new_file
from nncf_slb.openvino.call_form import Arguments, CallForm, call_form, flat_call, flat_outputs
from nncf_slb.openvino.conversion import convert_torch
from nncf_slb.openvino.graph import CodedConstant, LoweringError
from nncf_slb.openvino.ir import last_line
from nncf_slb.openvino.lowering import lower
from nncf_slb.openvino.machine import binary_is_faster
from nncf_slb.openvino.metadata import DYNAMIC_QUANTIZATION_OFF, write_metadata
from nncf_slb.openvino.stripped_network import export_defaults, stripped_network
from nncf_slb.openvino.targets import LoweringSettings, why_not_binary
from nncf_slb.openvino.tracing_form import tracing_form
from nncf_slb.search.batchnorm import preserved_modes
from nncf_slb.search.finite import refuse_not_finite
from nncf_slb.search.runtime import CodedWeight, coded_weights, layer_of_coded_weight, layer_path

logger = logging.getLogger("nncf_slb")

SUFFIXES = (".xml", ".onnx")
_INPUTS_NOT_BINARY = "its inputs are not 1-bit"


class ExportError(SLBError, RuntimeError):
    """An export that cannot be done, with the reason and the remedy; no file was written."""


def export_openvino(
    model: Any,
    path: str | Path,
    *,
    example_input: Any = None,
    input_names: list[str] | None = None,
    input_shapes: Sequence[Sequence[int]] | None = None,
    target_device: str | None = None,
    binary_convolution: BinaryConvolution | None = None,
    dynamic_quantization: bool | None = None,
) -> Path:
    """Write a searched network with weights packed into 1, 2, 3 or 4 bits.

    Args:
        model: Controller (of `slb`, or a composite that holds one), which stays as it is bit for bit, or a stripped
            model.
        path: ``.xml`` writes OpenVINO IR beside a ``.bin``; ``.onnx`` writes ONNX (extra ``onnx``), whose codes take
            8 bits each. Folders are made; an existing file is replaced only once the new one is complete.
        example_input: Tensor; tuple of the network's arguments, tensors in any nesting, whose last one may be a
            dictionary of keyword arguments; or such a dictionary alone. The batch dimension of each tensor becomes
            dynamic, the others stay; with binary convolutions, and for the NPU, which need it, the batch size is the
            example's. For a controller by default what its ``dummy_forward_fn`` or ``input_info`` gives, or where there
            is none a batch of the registered data loader.
        input_names: Names of the inputs, in order, one for each.
        input_shapes: Shapes of the inputs in an IR, in order, -1 for any size: ``[[-1, 3, -1, -1]]`` takes images of
            any height and width. By default only the batch dimension is dynamic.
        target_device: ``CPU`` (or ``CPU_SPR``), ``GPU``, ``NPU`` or ``ANY``. By default the controller's config
            decides, else ``CPU``.
        binary_convolution: ``auto``, ``always`` or ``never``, as in the config, which is the default; else ``auto``.
        dynamic_quantization: As in the config, which is the default; else False.

    Returns:
        The path written.

    Raises:
        ExportError: On a wrong suffix or setting, a missing example input, shapes or names that do not fit it, or a
            model without coded weights.
        TypeError: If `model` is neither a controller nor a torch module.
        nncf_slb.openvino.graph.LoweringError: If a layer's weights can't be packed.
    """
    target = Path(path)
    _check_path(target)
    settings = _settings(model, target_device, binary_convolution, dynamic_quantization)
    stripped = stripped_network(model)
    args, kwargs = _arguments(example_input, model)
    if not coded_weights(stripped):
        raise ExportError(
            f"model: received {type(model).__name__} without searched weights; pass the controller that "
            "create_compressed_model returned, or what its strip() returned"
        )
    refuse_not_finite(stripped)
    form, examples = form_of_call(stripped, args, kwargs)
    if input_names is not None and len(input_names) != len(examples):
        raise ExportError(
            f"input_names: received {len(input_names)}; allowed are as many as the network has inputs, "
            f"{len(examples)}. Name each of them, or leave input_names out"
        )
    if input_shapes is not None:
        _check_shapes(input_shapes, examples, target)
    with preserved_modes(stripped):
        stripped.eval()
        if target.suffix == ".onnx":
            _write_onnx(stripped, target, examples, form, input_names)
        else:
            converted = convert(stripped, examples, form, input_names, settings, input_shapes)
            _save_atomically(converted, target)
    return target


def export_float(model: nn.Module, path: str | Path, example_input: Any) -> Path:
    """Write a network as it is, weights in float32, to compare files with.

    Args:
        model: Network in eval mode.
        path: ``.xml`` file to write.
        example_input: As for `export_openvino`.

    Raises:
        ExportError: If the name is wrong, or OpenVINO cannot convert the network.
    """
    target = Path(path)
    _check_path(target)
    form, examples = form_of_call(model, *_arguments(example_input, model))
    _save_atomically(convert(model, examples, form), target)
    return target


def _check_path(target: Path) -> None:
    if target.suffix not in SUFFIXES:
        raise ExportError(f"path: received '{target}'; allowed are names that end in {' or '.join(SUFFIXES)}")
    for file in [target, target.with_suffix(".bin")] if target.suffix == ".xml" else [target]:
        if file.is_dir():
            raise ExportError(f"path: received '{target}', but '{file}' is a folder; allowed is the name of a file")


def _arguments(example_input: Any, model: Any) -> Arguments:
    """Positional and keyword arguments from what the user gave: the last of several may be a dictionary of keywords."""
    if example_input is None:
        defaults = export_defaults(model)
        if defaults is None:
            raise ExportError("example_input: received None; a stripped model needs a tensor with the shape to export")
        return defaults.example(model.model)
    if isinstance(example_input, Mapping):
        return (), dict(example_input)
    if not isinstance(example_input, tuple | list):
        return (example_input,), {}
    if example_input and isinstance(example_input[-1], Mapping):
        return tuple(example_input[:-1]), dict(example_input[-1])
    return tuple(example_input), {}


def form_of_call(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[CallForm, tuple[Tensor, ...]]:
    """`nncf_slb.openvino.call_form.call_form` for an export.

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
    return form, tuple(tensors)


def _check_shapes(shapes: Sequence[Sequence[int]], examples: tuple[Tensor, ...], target: Path) -> None:
    received = [list(shape) for shape in shapes]
    if target.suffix != ".xml":
        raise ExportError(f"input_shapes: received {received}; allowed with .xml files only, leave it out for {target}")
    example_shapes = [list(example.shape) for example in examples]
    fits = len(received) == len(example_shapes) and all(
        len(shape) == len(example) and all(s in (-1, e) for s, e in zip(shape, example, strict=True))
        for shape, example in zip(received, example_shapes, strict=True)
    )
    if not fits:
        raise ExportError(
            f"input_shapes: received {received}; allowed are the shapes of the example inputs, {example_shapes}, "
            "with -1 for any size in place of some numbers"
        )


def _settings(
    model: Any,
    target_device: str | None,
    binary_convolution: BinaryConvolution | None,
    dynamic_quantization: bool | None,
) -> LoweringSettings:
    defaults = export_defaults(model)
    chosen = LoweringSettings() if defaults is None else defaults.lowering
    if binary_convolution not in (None, "auto", "always", "never"):
        raise ExportError(f"binary_convolution: received {binary_convolution!r}; allowed are auto, always, never")
    try:
        device = chosen.target_device if target_device is None else find_target_device(target_device)
    except ValueError as error:
        raise ExportError(str(error)) from error
    return LoweringSettings(
        device,
        binary_convolution or chosen.binary_convolution,
        chosen.dynamic_quantization if dynamic_quantization is None else dynamic_quantization,
    )


def convert(
    stripped: nn.Module,
    examples: tuple[Tensor, ...],
    form: CallForm,
    input_names: list[str] | None = None,
    settings: LoweringSettings | None = None,
    input_shapes: Sequence[Sequence[int]] | None = None,
) -> ov.Model:
    """OpenVINO model of a stripped model in eval mode, with packed weights.

    Raises:
        ExportError: If only binary convolutions will do, and a layer with 1-bit weights and inputs can't be one, or if
            `input_shapes` leave free what must be fixed, or if OpenVINO cannot convert the network.
    """
    settings = settings or LoweringSettings()
    coded = [_constant(stripped, path, module) for path, module in coded_weights(stripped).items()]
    binary = _binary(stripped, coded, settings)
    static = binary or settings.target_device == "NPU"
    if input_shapes is None:
        input_shapes = [
            [*(example.shape[:1] if static else [-1] * min(1, example.dim())), *example.shape[1:]]
            for example in examples
        ]
    _refuse_free_sizes(input_shapes, binary, settings)
    shapes = [ov.PartialShape(list(shape)) for shape in input_shapes]
    output_names = _output_names(stripped, form, examples)
    with tracing_form(stripped), flat_call(stripped, form):
        try:
            model = convert_torch(stripped, examples, shapes, {constant.constant_name for constant in coded})
        except Exception as error:  # those of the converter share no class of their own
            raise ExportError(f"OpenVINO cannot convert the network: {_converters_reason(error)}") from error
        _warn_of_unused(stripped, examples, model, coded)
    layers = lower(model, coded, settings.target_device, binary)
    _set_names(model, input_names or ([] if form.is_plain else list(form.names)), output_names)
    if not settings.dynamic_quantization:
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
def _output_names(stripped: nn.Module, form: CallForm, examples: tuple[Tensor, ...]) -> list[str]:
    """Names of the outputs where they stand in a dictionary or a named tuple; else none, and the converter's stay."""
    args, kwargs = form.arguments(examples)
    result = stripped(*args, **kwargs)
    names = list(flat_outputs(result))
    if not names:
        raise ExportError(
            f"the network gives {type(result).__name__} without a tensor; allowed are tensors, in lists, tuples and "
            "dictionaries"
        )
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


def _constant(stripped: nn.Module, path: str, module: CodedWeight) -> CodedConstant:
    codes, table = module.codes.cpu().numpy(), module.values.cpu().numpy()
    binary = _why_not_binary(stripped, path, module) is None
    return CodedConstant(path, layer_path(stripped, path), codes, module.bits, table, binary)


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
    wanted = settings.binary_convolution == "auto" and settings.target_device == "CPU"
    return wanted and possible and binary_is_faster()


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


def _write_onnx(
    model: nn.Module, target: Path, examples: tuple[Tensor, ...], form: CallForm, input_names: list[str] | None
) -> None:
    names = input_names or ([f"input_{k}" for k in range(len(examples))] if form.is_plain else list(form.names))
    dynamic = {name: {0: "batch"} for name, example in zip(names, examples, strict=True) if example.dim()}
    outputs = _output_names(model, form, examples) or None
    with new_file(target) as partial, flat_call(model, form):
        try:
            torch.onnx.export(
                model,
                examples,
                str(partial),
                input_names=names,
                output_names=outputs,
                dynamic_axes=dynamic,
                dynamo=False,
            )
        except ImportError as error:
            raise ExportError(f"ONNX export needs the extra 'onnx': pip install '.[onnx]' ({error})") from error


def _save_atomically(model: ov.Model, target: Path) -> None:
    """Write ``.bin`` and ``.xml`` beside their final places, then move them, the ``.xml`` last."""
    with new_file(target) as partial:
        # float32 stays float32: with float16 scales the classes would no longer equal PyTorch's.
        ov.save_model(model, partial, compress_to_fp16=False)
        os.replace(partial.with_suffix(".bin"), target.with_suffix(".bin"))
