"""What the algorithm reads from and does to NNCF's network: which layers to search, and the way back to plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from nncf.common.graph import NNCFNode
from nncf.torch.layers import NNCF_MODULES_DICT, NNCF_PADDING_VALUE_ATTR_NAME
from nncf.torch.module_operations import UpdateWeight
from nncf.torch.nncf_network import NNCFNetwork
from torch import nn

from nncf_slb.activations import ActivationQuantizer
from nncf_slb.layers import SEARCHABLE_LAYERS, SearchableWeight
from nncf_slb.strip import FixedActivation, make_low_bit_

_NEVER_SEARCHED = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.PReLU)
_SEARCHABLE_NAMES = ", ".join(layer.__name__ for layer in SEARCHABLE_LAYERS)


class UnsupportedLayersError(ValueError):
    """Layers in scope that cannot be searched; the message names all of them, with reason and remedy."""


@dataclass
class SearchPlan:
    """Layers to search and layers left in full precision, by NNCF node name."""

    layers: dict[str, nn.Module] = field(default_factory=dict)
    full_precision: list[str] = field(default_factory=list)


def plan_search(model: NNCFNetwork, in_scope: Callable[[str], bool]) -> SearchPlan:
    """Decide for each layer with weights whether it is searched.

    Args:
        model: NNCF network.
        in_scope: Tells from a node or scope name whether the config's scopes include it.

    Raises:
        UnsupportedLayersError: If a layer in scope can't be searched, or none is left to search.
    """
    plan, problems = SearchPlan(), []
    handled: set[int] = set()
    for node in _weighted_nodes(model):
        layer = model.nncf.get_containing_module(node.node_name)
        if id(layer) in handled or isinstance(layer, _NEVER_SEARCHED):
            continue
        handled.add(id(layer))
        if not in_scope(node.node_name):
            plan.full_precision.append(node.node_name)
            continue
        reason = _reason_against(layer)
        if reason:
            problems.append((node.node_name, reason))
        else:
            plan.layers[node.node_name] = layer
    for scope, module in _modules_by_scope(model):
        if id(module) in handled or isinstance(module, _NEVER_SEARCHED) or not _own_matrices(module):
            continue
        if in_scope(scope):
            problems.append((scope, f"{type(module).__name__} is not a layer that NNCF lets an algorithm hook into"))
        else:
            plan.full_precision.append(scope)
    if problems:
        raise UnsupportedLayersError(_unsupported_message(problems))
    if not plan.layers:
        raise UnsupportedLayersError(
            "slb found no layer to search: ignored_scopes and target_scopes leave out every layer with weights "
            f"({', '.join(plan.full_precision) or 'the model has none'}). Change the scopes so that one remains."
        )
    return plan


def _unsupported_message(problems: list[tuple[str, str]]) -> str:
    lines = [f"  {name}: {reason}" for name, reason in problems]
    names = ", ".join(f'"{name}"' for name, _ in problems)
    return (
        f"slb cannot search {len(problems)} of the layers in scope:\n"
        + "\n".join(lines)
        + f"\nSearchable are {_SEARCHABLE_NAMES}. Keep these layers in full precision by adding to the slb section "
        f'"ignored_scopes": [{names}]'
    )


def _reason_against(layer: nn.Module) -> str | None:
    plain = NNCF_MODULES_DICT.get(type(layer))
    if plain not in SEARCHABLE_LAYERS:
        return f"{type(layer).__name__} has no low-bit form"
    if "weight" not in layer._parameters:
        return "its weight is computed from other parameters (weight norm or a parametrization); remove that first"
    weight: Any = layer.weight
    if not weight.is_floating_point():
        return f"its weight is {weight.dtype}, not floating point"
    return None


def _own_matrices(module: nn.Module) -> list[str]:
    return [name for name, p in module._parameters.items() if p is not None and p.dim() >= 2]


def _modules_by_scope(model: NNCFNetwork) -> list[tuple[str, nn.Module]]:
    """Modules of the user's model with NNCF's spelling of their scope, such as ``Net/NNCFConv2d[conv1]``."""
    found: list[tuple[str, nn.Module]] = []

    def visit(module: nn.Module, scope: str) -> None:
        found.append((scope, module))
        for name, child in module.named_children():
            if name not in ("_nncf", "pre_ops", "post_ops"):
                visit(child, f"{scope}/{type(child).__name__}[{name}]")

    visit(model, type(model).__name__)
    return found


def _weighted_nodes(model: NNCFNetwork) -> list[NNCFNode]:
    return sorted(model.nncf.get_weighted_original_graph_nodes(), key=lambda node: int(node.node_id))


def searchable_operands(model: NNCFNetwork) -> dict[str, SearchableWeight]:
    """Inserted `SearchableWeight`s by NNCF node name, in graph order; a shared one appears under each of its layers."""
    found: dict[str, SearchableWeight] = {}
    seen: set[int] = set()
    for node in _weighted_nodes(model):
        layer = model.nncf.get_containing_module(node.node_name)
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        operand = _searchable_of(layer)
        if operand is not None:
            found[node.node_name] = operand
    return found


def _searchable_of(layer: nn.Module) -> SearchableWeight | None:
    return next((op for op in _operands(layer) if isinstance(op, SearchableWeight)), None)


def _quantizer_of(layer: nn.Module) -> ActivationQuantizer | None:
    return next((op for op in _operands(layer) if isinstance(op, ActivationQuantizer)), None)


def _operands(layer: nn.Module) -> list[nn.Module]:
    return [operation.op for operation in getattr(layer, "pre_ops", {}).values()]


def refuse_foreign_operations(model: NNCFNetwork, names: Iterable[str]) -> None:
    """Check that no other algorithm of a composite changes the searched weights.

    Raises:
        UnsupportedLayersError: Naming the layers for which one does.
    """
    layers = {name: model.nncf.get_containing_module(name) for name in names}
    foreign = [
        name
        for name, layer in layers.items()
        if any(isinstance(op, UpdateWeight) and op.op is not _searchable_of(layer) for op in layer.pre_ops.values())
    ]
    if foreign:
        scopes = ", ".join(f'"{name}"' for name in foreign)
        raise UnsupportedLayersError(
            f"another algorithm of the config changes the weights of {len(foreign)} layers that slb searches. Give "
            f'that algorithm "weights": {{"ignored_scopes": [{scopes}]}} (quantization), or "ignored_scopes" with '
            "the same names"
        )


def to_plain_torch(model: NNCFNetwork) -> nn.Module:
    """Turn an NNCF network in place into the user's own class with torch layers and low-bit layers.

    Raises:
        RuntimeError: If another algorithm has put operations of its own into the network, or a quantizer of inputs
            has seen no data.
    """
    fixed: dict[ActivationQuantizer, FixedActivation] = {}
    for module in list(model.modules()):
        plain = NNCF_MODULES_DICT.get(type(module))
        if plain is None:
            continue
        searchable, quantizer = _searchable_of(module), _quantizer_of(module)
        own = (searchable is not None) + (quantizer is not None)
        if len(module.pre_ops) > own or len(module.post_ops):
            raise RuntimeError(
                "the network holds operations of another algorithm; strip it through the composite controller"
            )
        del module.pre_ops, module.post_ops
        module._buffers.pop(NNCF_PADDING_VALUE_ATTR_NAME, None)
        module.__class__ = plain
        if searchable is not None:
            activation = None
            if quantizer is not None:
                activation = fixed.setdefault(quantizer, FixedActivation(quantizer))
            make_low_bit_(module, searchable, activation)
    original_class = model.nncf._original_class
    del model._nncf
    plain_model: nn.Module = model
    plain_model.__class__ = original_class
    return plain_model
