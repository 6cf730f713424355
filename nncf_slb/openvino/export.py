"""Export of a searched network to OpenVINO IR."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import openvino as ov
from torch import nn

from nncf_slb.config.devices import BinaryConvolution, LinearChoice, find_target_device
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
    linear: LinearChoice | None = None,
) -> None:
    """Write an IR; arguments as for `nncf_slb.export_openvino`.

    Raises:
        ExportError: On a wrong setting, or a model that OpenVINO cannot convert.
        nncf_slb.openvino.graph.LoweringError: If a layer's weights can't be packed.
    """
    settings = _settings(request.model, target_device, binary_convolution, linear)
    with preserved_modes(request.stripped):
        request.stripped.eval()
        converted = convert(
            request.stripped, request.examples, request.form, request.input_names, settings, request.input_shapes,
            request.output_names,
        )  # fmt: skip
        save_ir(converted, request.target)


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
    save_ir(convert(model, examples, form), target)
    return target


def _settings(
    model: Any,
    target_device: str | None,
    binary_convolution: BinaryConvolution | None,
    linear: LinearChoice | None,
) -> LoweringSettings:
    defaults = export_defaults(model)
    chosen = LoweringSettings() if defaults is None else defaults.lowering
    if binary_convolution not in (None, "auto", "always", "never"):
        raise ExportError(f"binary_convolution: received {binary_convolution!r}; allowed are auto, always, never")
    if linear not in (None, "exact", "fastest"):
        raise ExportError(f"linear: received {linear!r}; allowed are exact, fastest")
    try:
        device = chosen.target_device if target_device is None else find_target_device(target_device)
    except ValueError as error:
        raise ExportError(str(error)) from error
    return LoweringSettings(
        device,
        binary_convolution or chosen.binary_convolution,
        linear or chosen.linear,
    )


def save_ir(model: ov.Model, target: Path) -> None:
    """Write ``.bin`` and ``.xml`` beside their final places, then move them, the ``.xml`` last.

    Raises:
        ExportError: If they cannot be written, as on a full disk; former files stay.
    """
    try:
        with new_file(target) as partial:
            # float32 stays float32: with float16 scales the classes would no longer equal PyTorch's.
            ov.save_model(model, partial, compress_to_fp16=False)
            target.unlink(missing_ok=True)  # a process killed between the moves leaves no file of two exports
            os.replace(partial.with_suffix(".bin"), target.with_suffix(".bin"))
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"path: '{target}' cannot be written ({reason}); make room, or use another folder") from error
