"""Which layers of a plain network are searched, which get 8 bits, and which stay in full precision, with the reason."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from nncf_slb.config.budget import AUTO
from nncf_slb.config.section import FULL_PRECISION, ConfigError, SLBConfig, scope_list
from nncf_slb.errors import SLBError
from nncf_slb.hosts.dataflow import Dataflow, RunLayer
from nncf_slb.search.channels import SEARCHABLE_LAYERS

_REGULAR_EXPRESSION = "{re}"
_MATRIX = 2
_BY_SCOPE = "the scopes leave it out"
_BY_EDGES = "it is the network's first or last layer (edges)"
_ASKED_FOR = (_BY_SCOPE, _BY_EDGES)


class NothingToSearchError(SLBError, ValueError):
    """A network without a layer that can be searched; the message says why for each."""


@dataclass
class Plan:
    """Layers by path in the network.

    Attributes:
        searched: Layers to search.
        edges: First and last layers that get 8 bits.
        full_precision: All other modules with matrices, with the reason.
    """

    searched: dict[str, RunLayer] = field(default_factory=dict)
    edges: dict[str, RunLayer] = field(default_factory=dict)
    full_precision: dict[str, str] = field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, str]:
        """Those of the full precision modules that neither scopes nor edges leave out."""
        return {path: reason for path, reason in self.full_precision.items() if reason not in _ASKED_FOR}

    def left_out_share(self, model: nn.Module) -> float:
        """Share of all weights of a network that `left_out` holds, 0 to 1."""
        matrices = {path: p.numel() for path, p in model.named_parameters() if p.dim() >= _MATRIX}
        left = sum(n for path, n in matrices.items() if {path, path.rpartition(".")[0]} & self.left_out.keys())
        return left / max(1, sum(matrices.values()))


def matches(path: str, scopes: Iterable[str]) -> bool:
    """Whether one of the scopes is a layer's path, or ``{re}`` and a regular expression that finds something in it."""
    return any(
        re.search(scope.removeprefix(_REGULAR_EXPRESSION), path) is not None
        if scope.startswith(_REGULAR_EXPRESSION)
        else scope == path
        for scope in scopes
    )


def plan_search(model: nn.Module, flow: Dataflow, config: SLBConfig) -> Plan:
    """Decide for each module with weights what becomes of it.

    Args:
        model: Float network.
        flow: What one pass of it has shown.
        config: Settings.

    Raises:
        ConfigError: If a scope matches no layer.
        NothingToSearchError: If no layer is left to search.
    """
    if config.validate_scopes:
        _refuse_unmatched(flow, config)
    plan = Plan()
    ignored, target = scope_list(config.ignored_scopes), config.target_scopes
    holders = _holders(model)
    by_id = {id(layer.module): layer for layer in flow.layers}
    edges = config.weights.edges
    for path, module in model.named_modules():
        layer = by_id.get(id(module))
        if layer is None:
            if reason := _reason_outside(module):
                plan.full_precision[path] = reason
        elif layer.path != path:
            continue
        elif matches(path, ignored) or (target is not None and not matches(path, scope_list(target))):
            plan.full_precision[path] = _BY_SCOPE
        elif reason := _reason_against(module, holders):
            plan.full_precision[path] = reason
        elif edges != "search" and (layer.is_first or layer.is_last):
            if edges == "float":
                plan.full_precision[path] = _BY_EDGES
            else:
                plan.edges[path] = layer
        else:
            plan.searched[path] = layer
    for layer in flow.parameters:
        reason = _reason_against_parameter(layer, holders, config)
        if matches(layer.path, ignored) or (target is not None and not matches(layer.path, scope_list(target))):
            reason = _BY_SCOPE
        elif edges != "search" and (layer.is_first or layer.is_last):
            reason = _BY_EDGES
        if reason:
            plan.full_precision[layer.path] = reason
        else:
            plan.searched[layer.path] = layer
            plan.full_precision.pop(layer.path.rpartition(".")[0], None)
    in_order = {layer.path: layer for layer in (*flow.layers, *flow.parameters)}
    plan.searched = {path: layer for path, layer in in_order.items() if path in plan.searched}
    if not plan.searched:
        raise NothingToSearchError(_nothing_message(plan))
    return plan


def _holders(model: nn.Module) -> dict[int, list[nn.Module]]:
    """Modules that hold a parameter under the name ``weight`` or another one, by the parameter's id."""
    holders: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                holders.setdefault(id(parameter), []).append(module)
    return holders


def _reason_against(layer: nn.Module, holders: dict[int, list[nn.Module]]) -> str | None:
    weight = layer._parameters.get("weight")
    if weight is None:
        return "its weight is computed from other parameters"
    if not weight.is_floating_point():
        return f"its weight is {weight.dtype}, not floating point"
    others = [other for other in holders[id(weight)] if not isinstance(other, SEARCHABLE_LAYERS)]
    return f"it shares its weight with a module of type {type(others[0]).__name__}" if others else None


def _reason_against_parameter(layer: RunLayer, holders: dict[int, list[nn.Module]], config: SLBConfig) -> str | None:
    weight = layer.module._parameters[layer.parameter]
    if weight is None or not weight.is_floating_point():
        return "its weight is not floating point"
    if len(holders[id(weight)]) > 1:
        return "several modules share it"
    if config.weights.resolve(partial(matches, layer.path)).bits == AUTO:
        return f'{layer.function} is a function, and bits "auto" are measured on layers; state bits in an override'
    if config.activations.resolve(partial(matches, layer.path)).bits != FULL_PRECISION:
        return f"{layer.function} is a function, and only layers quantize their inputs; state 32 bits in an override"
    return None


def _reason_outside(module: nn.Module) -> str | None:
    if isinstance(module, SEARCHABLE_LAYERS):
        return "the network does not run it as a layer"
    if is_parametrized(module):
        return "its weights are computed from other parameters"
    matrices = [p for p in module._parameters.values() if p is not None and p.dim() >= _MATRIX]
    return f"{type(module).__name__} is no convolution or Linear layer" if matrices else None


def _nothing_message(plan: Plan) -> str:
    reasons = [f"{path or 'the network'}: {reason}" for path, reason in plan.full_precision.items()]
    reasons += [f'{path}: first or last layer, which gets 8 bits; "edges": "search" searches it' for path in plan.edges]
    kinds = ", ".join(kind.__name__ for kind in SEARCHABLE_LAYERS)
    return (
        f"model: received a network without a layer to search; allowed are networks with {kinds} between the first "
        "and the last layer:\n  " + "\n  ".join(reasons or ["it runs no layer with weights"])
    )


def _refuse_unmatched(flow: Dataflow, config: SLBConfig) -> None:
    paths = [layer.path for layer in (*flow.layers, *flow.parameters)]
    settings = {"ignored_scopes": scope_list(config.ignored_scopes), "target_scopes": scope_list(config.target_scopes)}
    for kind in ("weights", "activations"):
        for index, override in enumerate(getattr(config, kind).overrides):
            settings[f"{kind}.overrides[{index}].target_scopes"] = scope_list(override.target_scopes)
    problems = [
        f'{name}: received "{scope}", which matches no layer; allowed: {_suggestion(scope, paths)}. Correct it, or set '
        "validate_scopes to false"
        for name, scopes in settings.items()
        for scope in scopes
        if not any(matches(path, [scope]) for path in paths)
    ]
    if problems:
        raise ConfigError(problems)


def _suggestion(scope: str, paths: list[str]) -> str:
    """The nearest path, also from NNCF's spelling ``Net/NNCFConv2d[conv]/conv2d_0``."""
    below = [path for path in paths if path.startswith(f"{scope}.")]
    if below:
        return f'"{{re}}^{re.escape(scope)}\\." for the {len(below)} layers in it'
    plain = ".".join(re.findall(r"\[([^\]]+)\]", scope)) or scope
    near = difflib.get_close_matches(plain, paths, 1, cutoff=0.4)
    return f'the path of a layer, such as "{(near or paths)[0]}"' if paths else "none, as the network runs no layer"
