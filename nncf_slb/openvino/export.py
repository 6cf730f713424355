"""Export of a searched network to OpenVINO IR or ONNX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from torch import nn

from nncf_slb.batchnorm import preserved_modes
from nncf_slb.files import new_file
from nncf_slb.openvino.conversion import convert_torch
from nncf_slb.openvino.graph import CodedConstant
from nncf_slb.openvino.lowering import lower
from nncf_slb.openvino.machine import binary_is_faster
from nncf_slb.openvino.metadata import write_metadata
from nncf_slb.strip import CodedWeight, coded_weights, exportable_form, layer_of_coded_weight, stripped_copy
from nncf_slb.targets import LoweringSettings, find_target_device, why_not_binary

SUFFIXES = (".xml", ".onnx")
_INPUTS_NOT_BINARY = "its inputs are not 1-bit"


class ExportError(RuntimeError):
    """An export that cannot be done, with the reason and the remedy; no file was written."""


def export_openvino(
    model: Any,
    path: str | Path,
    *,
    example_input: Any = None,
    input_names: list[str] | None = None,
    input_shapes: Sequence[Sequence[int]] | None = None,
    target_device: str | None = None,
    binary_convolution: str | None = None,
    dynamic_quantization: bool | None = None,
) -> Path:
    """Write a searched network with weights packed into 1, 2, 3 or 4 bits.

    Args:
        model: Controller (of `slb`, or a composite that holds one), which stays as it is bit for bit, or a stripped
            model.
        path: ``.xml`` writes OpenVINO IR beside a ``.bin``; ``.onnx`` writes ONNX (extra ``onnx``), whose codes take
            8 bits each. Folders are made; an existing file is replaced only once the new one is complete.
        example_input: Tensor, or tuple of tensors, with the shapes to export. The batch dimension becomes dynamic, the
            others stay; with binary convolutions, and for the NPU, which need it, the batch size is the example's. For
            a controller by default NNCF's ``input_info``, or where there is none a batch of the registered data loader.
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
    if target.suffix not in SUFFIXES:
        raise ExportError(f"path: received '{target}'; allowed are names that end in {' or '.join(SUFFIXES)}")
    settings = _settings(model, target_device, binary_convolution, dynamic_quantization)
    stripped = stripped_copy(model)
    if example_input is None:
        example_input = example_inputs(getattr(model, "model", None))
    examples = tuple(example_input) if isinstance(example_input, (tuple, list)) else (example_input,)
    if input_names is not None and len(input_names) != len(examples):
        raise ExportError(
            f"input_names: received {len(input_names)}; allowed are as many as the network has inputs, "
            f"{len(examples)}. Name each of them, or leave input_names out"
        )
    if input_shapes is not None:
        _check_shapes(input_shapes, examples, target)
    if not coded_weights(stripped):
        raise ExportError(
            f"model: received {type(model).__name__} without searched weights; pass the controller that "
            "create_compressed_model returned, or what its strip() returned"
        )
    with preserved_modes(stripped):
        stripped.eval()
        if target.suffix == ".onnx":
            _write_onnx(stripped, target, examples, input_names)
        else:
            _save_atomically(convert(stripped, examples, input_names, settings, input_shapes), target)
    return target


def _check_shapes(shapes: Sequence[Sequence[int]], examples: tuple[torch.Tensor, ...], target: Path) -> None:
    received = [list(shape) for shape in shapes]
    if target.suffix != ".xml":
        raise ExportError(f"input_shapes: received {received}; allowed with .xml files only, leave it out for {target}")
    own = [list(example.shape) for example in examples]
    fits = len(received) == len(own) and all(
        len(shape) == len(example) and all(s in (-1, e) for s, e in zip(shape, example, strict=True))
        for shape, example in zip(received, own, strict=True)
    )
    if not fits:
        raise ExportError(
            f"input_shapes: received {received}; allowed are the shapes of the example inputs, {own}, with -1 for any "
            "size in place of some numbers"
        )


def _settings(
    model: Any, target_device: str | None, binary_convolution: str | None, dynamic_quantization: bool | None
) -> LoweringSettings:
    own = [each.lowering for each in (model, *getattr(model, "child_ctrls", ())) if hasattr(each, "lowering")]
    chosen = own[0] if own and isinstance(own[0], LoweringSettings) else LoweringSettings()
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


def export_controller(
    ctrl: Any,
    save_path: str,
    save_format: str | None,
    input_names: list[str] | None,
    output_names: list[str] | None,
    model_args: tuple[Any, ...] | None,
) -> None:
    """NNCF's `export_model` interface for `export_openvino`.

    Raises:
        ExportError: On a `save_format` or `output_names`, which the suffix and the model decide, or keyword arguments.
    """
    if save_format is not None or output_names is not None:
        raise ExportError(
            f"save_format, output_names: received {save_format!r}, {output_names!r}; leave them out, the suffix of "
            "save_path (.xml or .onnx) chooses the format"
        )
    if model_args and isinstance(model_args[-1], dict):
        if model_args[-1]:
            raise ExportError("model_args: keyword arguments cannot be exported; pass positional tensors only")
        model_args = model_args[:-1]
    export_openvino(ctrl, save_path, example_input=model_args or None, input_names=input_names)


def convert(
    stripped: nn.Module,
    examples: tuple[torch.Tensor, ...],
    input_names: list[str] | None = None,
    settings: LoweringSettings | None = None,
    input_shapes: Sequence[Sequence[int]] | None = None,
) -> ov.Model:
    """OpenVINO model of a stripped model in eval mode, with packed weights.

    Raises:
        ExportError: If only binary convolutions will do, and a layer with 1-bit weights and inputs can't be one, or if
            `input_shapes` leave free what must be fixed.
    """
    settings = settings or LoweringSettings()
    coded = {f"self.{name}.codes": _constant(stripped, name, m) for name, m in coded_weights(stripped).items()}
    binary = _binary(stripped, coded, settings)
    static = binary or settings.target_device == "NPU"
    if input_shapes is None:
        input_shapes = [[example.shape[0] if static else -1, *example.shape[1:]] for example in examples]
    _refuse_free_sizes(input_shapes, binary, settings)
    shapes = [ov.PartialShape(list(shape)) for shape in input_shapes]
    with exportable_form(stripped):
        model = convert_torch(stripped, examples, shapes, coded)
    layers = lower(model, coded, settings.target_device, binary)
    for port, name in zip(model.inputs, input_names or [], strict=False):
        port.get_node().set_friendly_name(name)
        port.set_names({name})
    if not settings.dynamic_quantization:
        # Unless told otherwise, the CPU plugin rounds inputs of what it runs as FullyConnected: packed Linear layers,
        # and 1x1 convolutions behind a pooling too.
        model.set_rt_info("0", ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
    write_metadata(model, settings, layers)
    return model


def _refuse_free_sizes(shapes: Sequence[Sequence[int]], binary: bool, settings: LoweringSettings) -> None:
    received = [list(shape) for shape in shapes]
    if binary and any(shape[0] == -1 for shape in received):
        advice = 'give a number, or use binary_convolution="never"'
        raise ExportError(f"input_shapes: received {received}; binary convolutions need a fixed batch size: {advice}")
    if settings.target_device == "NPU" and any(-1 in shape for shape in received):
        raise ExportError(f"input_shapes: received {received}; the NPU needs fixed sizes: give numbers")


def _constant(stripped: nn.Module, name: str, module: CodedWeight) -> CodedConstant:
    table = module.values.cpu().numpy()
    return CodedConstant(module.codes.cpu().numpy(), module.bits, table, _why_not_binary(stripped, name) is None)


def _why_not_binary(stripped: nn.Module, name: str) -> str | None:
    layer, quantizer = layer_of_coded_weight(stripped, name)
    if quantizer is None or quantizer.bits != 1:
        return _INPUTS_NOT_BINARY
    return why_not_binary(layer, coded_weights(stripped)[name].values.tolist())


def _binary(stripped: nn.Module, coded: dict[str, CodedConstant], settings: LoweringSettings) -> bool:
    """Whether to use binary convolutions."""
    possible = any(constant.binary for constant in coded.values())
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
        reason = _why_not_binary(stripped, name) if module.bits == 1 else None
        if reason not in (None, _INPUTS_NOT_BINARY):
            problems.append(f"{name.partition('.pre_ops.')[0]}: {reason}")
    if problems:
        raise ExportError(
            'binary_convolution: received "always", which these cannot follow; use "auto" or "never":\n  '
            + "\n  ".join(problems)
        )


def example_inputs(network: Any) -> tuple[torch.Tensor, ...]:
    """Inputs with which NNCF saw the network, on its device: from ``input_info``, else a batch of the data loader.

    Raises:
        ExportError: If it is no NNCF network, or not all of its inputs are positional tensors.
    """
    info = getattr(getattr(network, "nncf", None), "input_infos", None)
    if info is None:
        raise ExportError("example_input: received None; a stripped model needs a tensor with the shape to export")
    with preserved_modes(network):  # input_info may ask for random numbers
        args, kwargs = info.get_forward_inputs(next(network.parameters()).device)
    others = [f"{name} by keyword" for name in kwargs]
    others += [f"a {type(each).__name__}" for each in args if not isinstance(each, torch.Tensor)]
    if others:
        raise ExportError(
            f"inputs of the network, from input_info or the data loader: received {', '.join(others)}; allowed for an "
            "export are tensors by position. Leave keyword out of input_info, or pass such tensors as example_input"
        )
    return tuple(args)


def _write_onnx(
    model: nn.Module, target: Path, examples: tuple[torch.Tensor, ...], input_names: list[str] | None
) -> None:
    names = input_names or [f"input_{k}" for k in range(len(examples))]
    dynamic = {name: {0: "batch"} for name in names}
    with new_file(target) as partial:
        try:
            torch.onnx.export(model, examples, str(partial), input_names=names, dynamic_axes=dynamic, dynamo=False)
        except ImportError as error:
            raise ExportError(f"ONNX export needs the extra 'onnx': pip install '.[onnx]' ({error})") from error


def _save_atomically(model: ov.Model, target: Path) -> None:
    """Write ``.bin`` and ``.xml`` beside their final places, then move them, the ``.xml`` last."""
    with new_file(target) as partial:
        # float32 stays float32: with float16 scales the classes would no longer equal PyTorch's.
        ov.save_model(model, partial, compress_to_fp16=False)
        os.replace(partial.with_suffix(".bin"), target.with_suffix(".bin"))
