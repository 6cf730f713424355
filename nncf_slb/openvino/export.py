"""Export of a searched network to OpenVINO IR."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import openvino as ov
from torch import nn

from nncf_slb.config.devices import BinaryConvolution, find_target_device
from nncf_slb.files import new_file
from nncf_slb.openvino.low_bit_model import ExportError, convert, form_of_call
from nncf_slb.openvino.request import ExportRequest, arguments_for, check_path
from nncf_slb.openvino.stripped_network import export_defaults
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.batchnorm import preserved_modes

SUFFIX = ".xml"


def export_ir(
    request: ExportRequest,
    target_device: str | None = None,
    binary_convolution: BinaryConvolution | None = None,
    dynamic_quantization: bool | None = None,
) -> None:
    """Write an IR; arguments as for `nncf_slb.export_openvino`.

    Raises:
        ExportError: On a wrong setting, or a model that OpenVINO cannot convert.
        nncf_slb.openvino.graph.LoweringError: If a layer's weights can't be packed.
    """
    settings = _settings(request.model, target_device, binary_convolution, dynamic_quantization)
    with preserved_modes(request.stripped):
        request.stripped.eval()
        converted = convert(
            request.stripped, request.examples, request.form, request.input_names, settings, request.input_shapes,
            request.output_names,
        )  # fmt: skip
        _save_atomically(converted, request.target)


def export_float(model: nn.Module, path: str | Path, example_input: Any) -> Path:
    """Write a network as it is, weights in float32, to compare files with.

    Args:
        model: Network in eval mode.
        path: ``.xml`` file to write.
        example_input: As for `nncf_slb.export_openvino`.

    Raises:
        ExportError: If the name is wrong, or OpenVINO cannot convert the network.
    """
    target = Path(path)
    check_path(target, (SUFFIX,))
    form, examples = form_of_call(model, *arguments_for(model, example_input))
    _save_atomically(convert(model, examples, form), target)
    return target


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


def _save_atomically(model: ov.Model, target: Path) -> None:
    """Write ``.bin`` and ``.xml`` beside their final places, then move them, the ``.xml`` last."""
    with new_file(target) as partial:
        # float32 stays float32: with float16 scales the classes would no longer equal PyTorch's.
        ov.save_model(model, partial, compress_to_fp16=False)
        os.replace(partial.with_suffix(".bin"), target.with_suffix(".bin"))
