"""Exports to every kind of file, those that a controller is asked for, and the one that is tried before a search."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import nn
from torch.nn.utils import parametrize

from nncf_slb.config.devices import BinaryConvolution, LinearChoice, OnnxTypes
from nncf_slb.openvino import export as openvino_export
from nncf_slb.openvino.low_bit_model import ExportError
from nncf_slb.openvino.request import export_request
from nncf_slb.search.descent import MirrorDescent
from nncf_slb.search.phases import SearchClock
from nncf_slb.search.runtime import FixedWeight
from nncf_slb.search.searchable import SearchableWeight, searchable_weights

logger = logging.getLogger("nncf_slb")

_IR, _ONNX = ".xml", ".onnx"
_FIRST_STEP = 1  # of a mean: the pass that shows a network to its host may be one


def export_openvino(
    model: Any,
    path: str | Path,
    *,
    example_input: Any = None,
    input_names: list[str] | None = None,
    output_names: list[str] | None = None,
    input_shapes: Sequence[Sequence[int]] | None = None,
    target_device: str | None = None,
    binary_convolution: BinaryConvolution | None = None,
    linear: LinearChoice | None = None,
    onnx_types: OnnxTypes | None = None,
    onnx_contrib: bool | None = None,
    opset: int | None = None,
) -> Path:
    """Write a searched network with weights packed into 1, 2, 3 or 4 bits.

    Args:
        model: Controller (of `slb`, or a composite that holds one), which stays as it is bit for bit, or a stripped
            model.
        path: ``.xml`` writes OpenVINO IR beside a ``.bin``; ``.onnx`` writes ONNX (extra ``onnx``). Folders are made;
            an existing file is replaced only once the new one is complete.
        example_input: Tensor; tuple of the network's arguments, tensors in any nesting, whose last one may be a
            dictionary of keyword arguments; or such a dictionary alone. The batch dimension of each tensor becomes
            dynamic, the others stay; with binary convolutions, and for the NPU, which need it, the batch size is the
            example's. For a controller by default what its ``dummy_forward_fn`` or ``input_info`` gives, or where there
            is none a batch of the registered data loader.
        input_names: Names of the inputs, in order, one for each.
        output_names: Names of the outputs, in order, one for each.
        input_shapes: Shapes of the inputs in the file, in order, -1 for any size: ``[[-1, 3, -1, -1]]`` takes images
            of any height and width. By default only the batch dimension is dynamic.
        target_device: IR only: ``CPU`` (or ``CPU_SPR``), ``GPU``, ``NPU`` or ``ANY``. By default the controller's
            config decides, else ``CPU``.
        binary_convolution: IR only: ``auto``, ``always`` or ``never``, as in the config, which is the default; else
            ``auto``.
        linear: IR only, ``exact`` or ``fastest``, as in the config, which is the default; else ``exact``.
        onnx_types: ONNX only: ``planes`` or ``native``, as in the config, which is the default; else ``planes``.
        onnx_contrib: ONNX only, as in the config, which is the default; else False.
        opset: ONNX only: version of the standard operators, 18 to 25; by default the first that holds the weights.

    Returns:
        The path written.

    Raises:
        ExportError: On a wrong suffix or setting, a missing example input, shapes or names that do not fit it, or a
            model without coded weights.
        TypeError: If `model` is neither a controller nor a torch module.
        nncf_slb.openvino.graph.LoweringError: If a layer's weights can't be packed.
    """
    target = Path(path)
    of_ir = {"target_device": target_device, "binary_convolution": binary_convolution,
             "linear": linear}  # fmt: skip
    of_onnx = {"onnx_types": onnx_types, "onnx_contrib": onnx_contrib, "opset": opset}
    wrong: dict[str, Any] = of_onnx if target.suffix == _IR else of_ir
    received = [f"{name}={value!r}" for name, value in wrong.items() if value is not None]
    if received and target.suffix in (_IR, _ONNX):
        raise ExportError(
            f"path: received '{target}' with {', '.join(received)}, which files of this kind have no use for; leave "
            f"{'it' if len(received) == 1 else 'them'} out, or export to {_ONNX if target.suffix == _IR else _IR}"
        )
    request = export_request(
        model, target, (_IR, _ONNX), example_input, input_names, output_names, input_shapes
    )  # fmt: skip
    _warn_of_a_search_under_way(model)
    if target.suffix == _IR:
        openvino_export.export_ir(request, target_device, binary_convolution, linear)
        return target
    try:
        from nncf_slb.onnx.export import export_onnx
    except ImportError as error:
        raise ExportError(f"ONNX export needs the extra 'onnx': pip install '.[onnx]' ({error})") from error
    export_onnx(request, onnx_types, onnx_contrib, opset)
    return target


def _warn_of_a_search_under_way(model: Any) -> None:
    """Say that a controller's network has been trained, but not to the end of its schedule: rounding it costs most."""
    for ctrl in getattr(model, "child_ctrls", [model]):
        clock = getattr(getattr(ctrl, "scheduler", None), "clock", None)
        if not isinstance(clock, SearchClock) or clock.phase.discrete:
            continue
        end = f"1/tau is {clock.phase.inverse_temperature:.3g} and reaches {clock.curve.end_value:.3g}"
        if clock.epoch >= 0:
            logger.warning(
                "slb: exported before the search is over: at epoch %.3g %s at epoch %.3g. Weights that are undecided "
                "lose accuracy when they are rounded. Train on, or set epochs in the config to those that you train",
                clock.position, end, clock.curve.end_epoch,
            )  # fmt: skip
        elif _has_trained(model):
            logger.warning(
                "slb: exported a trained network whose search has not begun: %s. Call ctrl.scheduler.epoch_step() "
                "before each epoch and ctrl.scheduler.step() before each step; with a checkpoint, hand its "
                "compression_state to create_compressed_model",
                end,
            )  # fmt: skip


def _has_trained(ctrl: Any) -> bool:
    descents = [weight.descent for weight in searchable_weights(ctrl.model)]
    return any(isinstance(descent, MirrorDescent) and descent.steps > _FIRST_STEP for descent in descents)


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
        ExportError: On a `save_format` that does not fit the suffix of `save_path`, and as `export_openvino` does.
    """
    opset = _opset_of(save_format, Path(save_path))
    export_openvino(
        ctrl, save_path, example_input=model_args or None, input_names=input_names, output_names=output_names,
        opset=opset,
    )  # fmt: skip


def _opset_of(save_format: str | None, target: Path) -> int | None:
    """Version of the operators that NNCF's name of a format asks for; None where it asks for none."""
    if save_format is None:
        return None
    named = re.fullmatch(r"onnx(?:_(\d+))?", save_format)
    if named is None or target.suffix != _ONNX:
        raise ExportError(
            f"save_format: received {save_format!r} for '{target}'; allowed are onnx and onnx_18 to onnx_25 for names "
            f"that end in {_ONNX}. Leave it out for {_IR}"
        )
    return None if named[1] is None else int(named[1])


def refused_before_training(error: Exception, network: nn.Module) -> ExportError:
    """What to say of a network whose dry export has failed."""
    paths = [path or "the network" for path, each in network.named_modules() if _is_parametrized(each)]
    plain = (
        f"These compute their weights from others: {', '.join(paths)}. "
        "torch.nn.utils.parametrize.remove_parametrizations makes plain ones of them. Otherwise leave"
    )
    return ExportError(
        f"the network cannot be exported to OpenVINO, which was tried before the search:\n{error}\n"
        f"{plain if paths else 'Leave'} the layers in question out with ignored_scopes, change the network, or, to "
        'search it all the same, set "openvino": {"dry_export": false} in the slb section'
    )


def _is_parametrized(module: nn.Module) -> bool:
    if not parametrize.is_parametrized(module):
        return False
    lists = cast(Any, module).parametrizations.values()
    return any(not isinstance(each[0], SearchableWeight | FixedWeight) for each in lists)
