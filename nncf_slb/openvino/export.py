"""Export of a searched network to OpenVINO IR or ONNX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from torch import Tensor, nn

from nncf_slb.config.devices import BinaryConvolution, find_target_device
from nncf_slb.files import new_file
from nncf_slb.openvino.call_form import Arguments, CallForm, arguments_of, flat_call
from nncf_slb.openvino.low_bit_model import ExportError, convert, form_of_call, in_float32, output_names
from nncf_slb.openvino.stripped_network import export_defaults, stripped_network
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.batchnorm import preserved_modes
from nncf_slb.search.finite import refuse_not_finite
from nncf_slb.search.runtime import coded_weights

SUFFIXES = (".xml", ".onnx")


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
            save_ir(converted, target)
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
    save_ir(convert(model, examples, form), target)
    return target


def _check_path(target: Path) -> None:
    if target.suffix not in SUFFIXES:
        raise ExportError(f"path: received '{target}'; allowed are names that end in {' or '.join(SUFFIXES)}")
    for file in [target, target.with_suffix(".bin")] if target.suffix == ".xml" else [target]:
        if file.is_dir():
            raise ExportError(f"path: received '{target}', but '{file}' is a folder; allowed is the name of a file")


def _arguments(example_input: Any, model: Any) -> Arguments:
    """Positional and keyword arguments from what the user gave, or the host."""
    if example_input is None:
        defaults = export_defaults(model)
        if defaults is None:
            raise ExportError("example_input: received None; a stripped model needs a tensor with the shape to export")
        return defaults.example(model.model)
    return arguments_of(example_input)


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


def _write_onnx(
    model: nn.Module, target: Path, examples: tuple[Tensor, ...], form: CallForm, input_names: list[str] | None
) -> None:
    model, examples = in_float32(model, examples)
    names = input_names or ([f"input_{k}" for k in range(len(examples))] if form.is_plain else list(form.names))
    dynamic = {name: {0: "batch"} for name, example in zip(names, examples, strict=True) if example.dim()}
    outputs = output_names(model, form, examples) or None
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
                do_constant_folding=False,  # it would make codes of 8 bits indices of 64
            )
        except ImportError as error:
            raise ExportError(f"ONNX export needs the extra 'onnx': pip install '.[onnx]' ({error})") from error


def save_ir(model: ov.Model, target: Path) -> None:
    """Write ``.bin`` and ``.xml`` beside their final places, then move them, the ``.xml`` last.

    Raises:
        ExportError: If they cannot be written, as on a full disk; former files stay.
    """
    try:
        with new_file(target) as partial:
            # float32 stays float32: with float16 scales the classes would no longer equal PyTorch's.
            ov.save_model(model, partial, compress_to_fp16=False)
            os.replace(partial.with_suffix(".bin"), target.with_suffix(".bin"))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"path: '{target}' cannot be written ({reason}); make room, or use another folder") from error
