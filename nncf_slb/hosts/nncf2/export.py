"""NNCF's way to ask for an export, and the arguments with which NNCF saw a network."""

from __future__ import annotations

from typing import Any

from nncf_slb.openvino.call_form import Arguments, captured_arguments
from nncf_slb.openvino.export import export_openvino
from nncf_slb.openvino.low_bit_model import ExportError
from nncf_slb.search.batchnorm import preserved_modes


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


def example_arguments(network: Any) -> Arguments:
    """Arguments with which NNCF saw the network, on its device: those that its ``dummy_forward_fn`` gives, or from
    ``input_info``, else a batch of the data loader.

    Raises:
        TypeError: If it is no NNCF network.
    """
    interface = getattr(network, "nncf", None)
    if interface is None:
        raise TypeError("network: allowed is an NNCF network")
    with preserved_modes(network):  # input_info may ask for random numbers
        if interface._user_dummy_forward_fn is not None:
            return captured_arguments(network, lambda: interface._user_dummy_forward_fn(network))
        args, kwargs = interface.input_infos.get_forward_inputs(next(network.parameters()).device)
    return tuple(args), dict(kwargs)
