"""Decides which layers are searched; names every layer and scope that cannot be, with reason and remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nncf.common.scopes import matches_any
from nncf.torch.layers import NNCF_MODULES_DICT
from nncf.torch.module_operations import UpdateWeight
from nncf.torch.nncf_network import NNCFNetwork
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from nncf_slb.config import ConfigError, SLBConfig
from nncf_slb.layers import SEARCHABLE_LAYERS
from nncf_slb.nncf_network import modules_by_scope, own_nodes, searchable_of, weighted_nodes

_NEVER_SEARCHED = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.PReLU)
_SEARCHABLE_NAMES = ", ".join(layer.__name__ for layer in SEARCHABLE_LAYERS)
_COMPUTED = "its weight is computed from other parameters (weight norm or a parametrization); remove that first"


class UnsupportedLayersError(ValueError):
    """Layers in scope that cannot be searched; the message names all of them, with reason and remedy."""


@dataclass
class SearchPlan:
    """Layers to search and layers left in full precision, by NNCF node name."""

    layers: dict[str, nn.Module] = field(default_factory=dict)
    full_precision: list[str] = field(default_factory=list)


class _Problem(NamedTuple):
    name: str
    reason: str
    scope: str  # entry of ignored_scopes that leaves the layer out


def plan_search(
    model: NNCFNetwork, in_scope: Callable[[str], bool], weight_settings: Callable[[str], Hashable]
) -> SearchPlan:
    """Decide for each layer with weights whether it is searched.

    Args:
        model: NNCF network.
        in_scope: Tells from a node or scope name whether the config's scopes include it.
        weight_settings: What the config says of a layer's weights, from its node name.

    Raises:
        UnsupportedLayersError: If a layer in scope can't be searched, or none is left to search.
    """
    plan, problems = SearchPlan(), []
    handled: set[int] = set()
    for node in weighted_nodes(model):
        layer = model.nncf.get_containing_module(node.node_name)
        if id(layer) in handled or isinstance(layer, _NEVER_SEARCHED):
            continue
        handled.add(id(layer))
        if not in_scope(node.node_name):
            plan.full_precision.append(node.node_name)
            continue
        reason = _reason_against(layer)
        if reason:
            problems.append(_Problem(node.node_name, reason, node.node_name))
        else:
            plan.layers[node.node_name] = layer
    problems += _problems_outside_layers(model, plan, in_scope, handled)
    problems += _problems_of_sharing(model, plan, weight_settings)
    if problems:
        raise UnsupportedLayersError(_unsupported_message(problems))
    if not plan.layers:
        raise UnsupportedLayersError(
            "slb found no layer to search: ignored_scopes and target_scopes leave out every layer with weights "
            f"({', '.join(plan.full_precision) or 'the model has none'}). Change the scopes so that one remains."
        )
    return plan


def _reason_against(layer: nn.Module) -> str | None:
    plain = NNCF_MODULES_DICT.get(type(layer))
    if plain not in SEARCHABLE_LAYERS:
        return f"{type(layer).__name__} has no low-bit form"
    if "weight" not in layer._parameters:
        return _COMPUTED
    weight: Any = layer.weight
    if not weight.is_floating_point():
        return f"its weight is {weight.dtype}, not floating point"
    return None


def _problems_outside_layers(
    model: NNCFNetwork, plan: SearchPlan, in_scope: Callable[[str], bool], handled: set[int]
) -> Iterator[_Problem]:
    """Modules in scope that compute with matrices of their own; adds all others to the plan, in full precision."""
    nodes = own_nodes(model)
    for scope, module in modules_by_scope(model):
        if id(module) in handled or isinstance(module, _NEVER_SEARCHED) or not _has_matrices(module):
            continue
        if not in_scope(scope) or not any(map(in_scope, nodes.get(scope, []))):
            plan.full_precision.append(scope)
            continue
        unknown = f"{type(module).__name__} is not a layer that NNCF lets an algorithm hook into"
        # NNCF knows no modules, only operations: the module's own ones, not those of the layers inside it.
        own = f"{{re}}^{re.escape(scope)}(/[^/]*)?$"
        yield _Problem(scope, _COMPUTED if is_parametrized(module) else unknown, own)


def _has_matrices(module: nn.Module) -> bool:
    holders = [module]
    if is_parametrized(module):
        holders += module.get_submodule("parametrizations").children()
    return any(p is not None and p.dim() >= 2 for holder in holders for p in holder._parameters.values())


def _problems_of_sharing(
    model: NNCFNetwork, plan: SearchPlan, weight_settings: Callable[[str], Hashable]
) -> Iterator[_Problem]:
    """Searched layers whose parameter another module needs in another form."""
    users: dict[int, list[str]] = {}
    for name, layer in plan.layers.items():
        users.setdefault(id(layer.weight), []).append(name)
    searched = {id(layer) for layer in plan.layers.values()}
    outside = {
        id(parameter): scope
        for scope, module in modules_by_scope(model)
        if id(module) not in searched
        for parameter in module._parameters.values()
    }
    for parameter, names in users.items():
        differ = len({weight_settings(name) for name in names}) > 1
        for name in names:
            if parameter in outside:
                reason = f"it shares its weight with {outside[parameter]}, which is not searched"
                yield _Problem(name, f"{reason}; search both, or give each a weight of its own", name)
            elif differ:
                others = ", ".join(other for other in names if other != name)
                reason = f"it shares its weight with {others}, but weights.overrides give them different settings"
                yield _Problem(name, f"{reason}; give them the same, or each a weight of its own", name)


def _unsupported_message(problems: list[_Problem]) -> str:
    lines = [f"  {problem.name}: {problem.reason}" for problem in problems]
    return (
        f"slb cannot search {len(problems)} of the layers in scope:\n"
        + "\n".join(lines)
        + f"\nSearchable are {_SEARCHABLE_NAMES}. Keep these layers in full precision by adding to the slb section "
        f'"ignored_scopes": {json.dumps([problem.scope for problem in problems])}'
    )


def refuse_unmatched_overrides(plan: SearchPlan, config: SLBConfig, at: str) -> None:
    """Check that each scope of the overrides matches a layer with weights, as NNCF checks all other scopes.

    Args:
        plan: Layers of the model.
        config: Settings.
        at: Path of the section, for the message.

    Raises:
        ConfigError: With a line for each override that has scopes without a layer.
    """
    layers = [*plan.layers, *plan.full_precision]
    weights, activations = config.weights.overrides, config.activations.overrides
    given = {f"weights.overrides[{index}]": each.target_scopes for index, each in enumerate(weights)}
    given |= {f"activations.overrides[{index}]": each.target_scopes for index, each in enumerate(activations)}
    unmatched = {
        path: [scope for scope in scopes if not any(matches_any(name, scope) for name in layers)]
        for path, scopes in given.items()
    }
    problems = [
        f"{at}.{path}.target_scopes: received {json.dumps(scopes)}, which no layer matches; allowed: "
        f"{', '.join(plan.layers)}, or {{re}} and a regular expression that finds some of them. Correct it, or set "
        "validate_scopes to false"
        for path, scopes in unmatched.items()
        if scopes
    ]
    if problems:
        raise ConfigError(problems)


def refuse_foreign_operations(model: NNCFNetwork, names: Iterable[str]) -> None:
    """Check that no other algorithm of a composite changes the searched weights.

    Raises:
        UnsupportedLayersError: Naming the layers for which one does.
    """
    layers = {name: model.nncf.get_containing_module(name) for name in names}
    foreign = [
        name
        for name, layer in layers.items()
        if any(isinstance(op, UpdateWeight) and op.op is not searchable_of(layer) for op in layer.pre_ops.values())
    ]
    if foreign:
        scopes = ", ".join(f'"{name}"' for name in foreign)
        raise UnsupportedLayersError(
            f"another algorithm of the config changes the weights of {len(foreign)} layers that slb searches. Give "
            f'that algorithm "weights": {{"ignored_scopes": [{scopes}]}} (quantization), or "ignored_scopes" with '
            "the same names"
        )
