"""The stripped network that a controller stands for, and how a host wants it exported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from nncf_slb.config.section import OnnxConfig
from nncf_slb.openvino.call_form import Arguments
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.searchable import searchable_weights


@dataclass(frozen=True)
class ExportDefaults:
    """What holds for a network unless an export says something else.

    Attributes:
        lowering: How it is lowered.
        example: Gives the arguments to trace it with, from the network.
        onnx: How ONNX files are written.
    """

    lowering: LoweringSettings
    example: Callable[[nn.Module], Arguments]
    onnx: OnnxConfig = field(default_factory=OnnxConfig)


_DEFAULTS: WeakKeyDictionary[nn.Module, ExportDefaults] = WeakKeyDictionary()


def set_export_defaults(network: nn.Module, defaults: ExportDefaults) -> None:
    """Remember how a host's network is exported, for as long as the network lives."""
    _DEFAULTS[network] = defaults


def export_defaults(model: Any) -> ExportDefaults | None:
    """What a host has set for the network of a controller; None for anything else."""
    network = getattr(model, "model", None)
    return _DEFAULTS.get(network) if isinstance(network, nn.Module) else None


def stripped_network(model: Any) -> nn.Module:
    """What a controller's ``strip`` gives, without copies of its logits; a stripped model itself.

    Args:
        model: Controller with the searched network as ``model``, or a stripped model.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(model, nn.Module):
        return model
    if not (hasattr(model, "strip") and isinstance(getattr(model, "model", None), nn.Module)):
        raise TypeError(
            f"model: received {type(model).__name__}; allowed are a controller and a stripped torch module. Pass the "
            "controller that create_compressed_model returned, or what its strip() returned"
        )
    with ExitStack() as stack:
        for search in {searchable.search for searchable in searchable_weights(model.model)}:
            stack.enter_context(search.sharing_copies())
        stripped: nn.Module = model.strip()
    return stripped
