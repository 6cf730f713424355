"""Exports that a controller is asked for, and the one that is tried before training."""

from __future__ import annotations

from typing import Any

from nncf_slb.openvino.export import export_openvino
from nncf_slb.openvino.low_bit_model import ExportError


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
        ExportError: On a `save_format` or `output_names`, which the suffix and the model decide.
    """
    if save_format is not None or output_names is not None:
        raise ExportError(
            f"save_format, output_names: received {save_format!r}, {output_names!r}; leave them out, the suffix of "
            "save_path (.xml or .onnx) chooses the format"
        )
    export_openvino(ctrl, save_path, example_input=model_args or None, input_names=input_names)


def refused_before_training(error: Exception) -> ExportError:
    """What to say of a network whose dry export has failed."""
    return ExportError(
        f"the network cannot be exported to OpenVINO, which was tried before training it:\n{error}\nLeave the layers "
        "in question out with ignored_scopes, change the network, or, to train it all the same, set "
        '"openvino": {"dry_export": false} in the slb section'
    )
