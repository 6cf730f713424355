"""Decides which layers are searched; names every layer and scope that cannot be, with reason and remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nncf import ValidationError
from nncf.common.scopes import matches_any
from nncf.torch.nncf_network import NNCFNetwork
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from nncf_slb.config.errors import as_json
from nncf_slb.config.section import ConfigError, SLBConfig, scope_list
from nncf_slb.config.weights import EdgesChoice
from nncf_slb.errors import SLBError
from nncf_slb.hosts.dataflow import observe
from nncf_slb.hosts.nncf2.modules import plain_class
from nncf_slb.hosts.nncf2.network import modules_by_scope, own_nodes, run_as_traced, weight_of, weighted_nodes
from nncf_slb.hosts.resuming import plain_path
from nncf_slb.hosts.weight_uses import Use, uses_of_parameters
from nncf_slb.search.channels import SEARCHABLE_LAYERS
from nncf_slb.search.parameters import weight_count

_NEVER_SEARCHED = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.PReLU, nn.RMSNorm)
_TABLES = (nn.Embedding, nn.EmbeddingBag)
_MATRIX = 2
_DOES_NOT_RUN = "it does not run in evaluation mode"
_SEARCHABLE_NAMES = ", ".join(layer.__name__ for layer in SEARCHABLE_LAYERS)
COMPUTED = (
    "its weight is computed from other parameters (weight norm, spectral norm or another parametrization); remove that "
    "first"
)


class UnsupportedLayersError(SLBError, ValueError):
    """Layers in scope that cannot be searched; the message names all of them, with reason and remedy.

    Args:
        message: The message.
        ignored_scopes: Entries of ``ignored_scopes`` that leave these layers out; empty where that is no remedy.
    """

    def __init__(self, message: str, ignored_scopes: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.ignored_scopes = tuple(ignored_scopes)


@dataclass
class SearchPlan:
    """Layers to search and what is left in full precision, by NNCF node name or scope.

    Attributes:
        layers: Layers to search.
        full_precision: All others with weights.
        left_out: Those of them that the config's scopes include, with the reason.
        left_out_share: Their share of all weights of the network.
        weights: All weights of the network.
        edges: First and last layers that get 8 bits.
        searched_edges: Those of `layers` that are first or last ones.
    """

    layers: dict[str, nn.Module] = field(default_factory=dict)
    full_precision: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    left_out_share: float = 0.0
    weights: int = 0
    edges: dict[str, nn.Module] = field(default_factory=dict)
    searched_edges: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scopes:
    """What the config's scopes say of a node or scope name.

    Attributes:
        include: Whether they include it.
        name: Whether its target scopes ask for it by name; a layer that can't be searched is then an error.
    """

    include: Callable[[str], bool]
    name: Callable[[str], bool]


class UnmatchedScopesError(ConfigError, ValidationError):  # type: ignore[misc]
    """Scopes that match nothing; NNCF's own algorithms raise its `ValidationError` then."""


class _Problem(NamedTuple):
    name: str
    reason: str
    scope: str  # entry of ignored_scopes that leaves the layer out


def plan_search(
    model: NNCFNetwork, scopes: Scopes, weight_settings: Callable[[str], Hashable], edges: EdgesChoice
) -> SearchPlan:
    """Decide for each layer with weights whether it is searched.

    Weights in scope that are no weights of a layer that NNCF can hook stay in full precision, unless the target scopes
    ask for them by name.

    Args:
        model: NNCF network.
        scopes: What the config's scopes say of a name.
        weight_settings: What the config says of a layer's weights, from its node name.
        edges: What the config says of first and last layers.

    Raises:
        UnsupportedLayersError: If a layer that was asked for can't be searched, or none is left to search.
    """
    plan, problems = SearchPlan(), []
    handled: set[int] = set()
    left: dict[str, list[Tensor]] = {}
    uses = uses_of_parameters(model, lambda: run_as_traced(model))

    def leave(name: str, reason: str, parameters: Iterable[Tensor], scope: str | None = None) -> None:
        if scopes.name(name) and reason != _DOES_NOT_RUN:  # what does not run, NNCF knows by no scope
            problems.append(_Problem(name, reason, scope or name))
        else:
            plan.full_precision.append(name)
            plan.left_out[name] = reason
            left[name] = list(parameters)

    for node in weighted_nodes(model):
        layer = model.nncf.get_containing_module(node.node_name)
        if id(layer) in handled or isinstance(layer, _NEVER_SEARCHED):
            continue
        handled.add(id(layer))
        if not scopes.include(node.node_name):
            plan.full_precision.append(node.node_name)
        elif isinstance(layer, _TABLES):
            kind = type(layer).__name__.removeprefix("NNCF")
            leave(node.node_name, f"{kind} looks rows up and multiplies no matrix", [layer.weight])
        elif obstacle := _reason_against(layer):
            problems.append(_Problem(node.node_name, obstacle, node.node_name))
        elif obstacle := _used_elsewhere(model, layer, uses):
            leave(node.node_name, obstacle, layer.parameters(recurse=False))
        else:
            plan.layers[node.node_name] = layer
    for scope, module, matrices in _outside_layers(model, handled):
        if not scopes.include(scope) or not _any_node_included(model, scope, scopes):
            plan.full_precision.append(scope)
        elif is_parametrized(module):
            problems.append(_Problem(scope, COMPUTED, _own_operations(scope)))
        else:
            leave(scope, _reason_outside(module, matrices, uses), matrices, _own_operations(scope))
    _settle_edges(model, plan, edges)
    problems += _problems_of_sharing(model, plan, weight_settings)
    if problems:
        raise UnsupportedLayersError(_unsupported_message(problems), [problem.scope for problem in problems])
    if not plan.layers:
        raise UnsupportedLayersError(_nothing_left_message(plan))
    plan.weights = weight_count(model.parameters())
    plan.left_out_share = weight_count(p for group in left.values() for p in group) / max(1, plan.weights)
    return plan


def _settle_edges(model: NNCFNetwork, plan: SearchPlan, edges: EdgesChoice) -> None:
    """Take first and last layers out of those that are searched, unless these are searched as well."""
    flow = observe(model, lambda: run_as_traced(model))
    outermost = {id(layer.module) for layer in flow.layers if layer.is_first or layer.is_last}
    names = [name for name, layer in plan.layers.items() if id(layer) in outermost]
    if edges == "search":
        plan.searched_edges = names
        return
    for name in names:
        layer = plan.layers.pop(name)
        if edges == "float":
            plan.full_precision.append(name)
        else:
            plan.edges[name] = layer


def _nothing_left_message(plan: SearchPlan) -> str:
    ignored = [name for name in plan.full_precision if name not in plan.left_out]
    parts = [f"scopes or edges leave out {', '.join(ignored)}"] if ignored else []
    parts += [f"edges give {', '.join(plan.edges)} 8 bits"] if plan.edges else []
    parts += [f"{name} cannot be searched ({reason})" for name, reason in plan.left_out.items()]
    return (
        f"slb found no layer to search: {'; '.join(parts) or 'the model has no layer with weights'}. Searchable are "
        f"{_SEARCHABLE_NAMES}; change ignored_scopes and target_scopes, or the network, so that one remains."
    )


def _reason_against(layer: nn.Module) -> str | None:
    if plain_class(layer) is None or not isinstance(layer, SEARCHABLE_LAYERS):
        return f"{type(layer).__name__} has no low-bit form"
    if "weight" not in layer._parameters:
        return COMPUTED
    weight: Any = layer.weight
    if not weight.is_floating_point():
        return f"its weight is {weight.dtype}, not floating point"
    return None


def _used_elsewhere(model: NNCFNetwork, layer: nn.Module, uses: dict[int, list[Use]]) -> str | None:
    """Why a weight that a layer's own computation shares with other code can't be searched: NNCF hooks layers only."""
    weight: Any = layer.weight
    names = {id(module): scope for scope, module in modules_by_scope(model)}
    for use in uses.get(id(weight), []):
        owner = use.module
        if owner is None or weight is not owner._parameters.get("weight"):
            name = names.get(id(owner), "the network")
            return f"{name} uses its weight too ({use.function}), where NNCF lets nothing in"
        if isinstance(owner, _TABLES):
            return f"it shares its weight with {names[id(owner)]}, which looks rows up"
    return None


def _outside_layers(model: NNCFNetwork, handled: set[int]) -> Iterator[tuple[str, nn.Module, list[nn.Parameter]]]:
    """Modules with matrices that are not layers with NNCF nodes of their own: scope, module and these matrices.

    What is inside a module that computes with its children's matrices itself counts as that module's.
    """
    inside: set[int] = set()
    for scope, module in modules_by_scope(model):
        if id(module) in handled | inside or isinstance(module, _NEVER_SEARCHED):
            continue
        matrices = list(_matrices(module))
        if isinstance(module, nn.MultiheadAttention):
            children = [child for child in module.modules() if child is not module]
            inside.update(id(child) for child in children if id(child) not in handled)
            matrices += [p for child in children if id(child) in inside for p in _matrices(child)]
        if matrices:
            yield scope, module, matrices


def _any_node_included(model: NNCFNetwork, scope: str, scopes: Scopes) -> bool:
    """NNCF knows no modules, only operations: one with some is left out where all of these are."""
    nodes = own_nodes(model).get(scope, [])
    return not nodes or any(map(scopes.include, nodes))


def _own_operations(scope: str) -> str:
    """Scope of a module's own operations, not those of the layers inside it."""
    return f"{{re}}^{re.escape(scope)}(/[^/]*)?$"


def _reason_outside(module: nn.Module, parameters: list[nn.Parameter], uses: dict[int, list[Use]]) -> str:
    module_uses = [use for parameter in parameters for use in uses.get(id(parameter), [])]
    product = next((use for use in module_uses if use.is_product), None)
    if not module_uses:
        return _DOES_NOT_RUN
    if product is not None:
        return f"it computes with its weights by {product.function}, where NNCF 2.19 lets nothing in"
    if all(use.is_elementwise for use in module_uses):
        return "no matrix product uses its weights"
    return f"it uses its weights by {module_uses[0].function}, where NNCF 2.19 lets nothing in"


def _matrices(module: nn.Module) -> Iterator[nn.Parameter]:
    holders = [module]
    if is_parametrized(module):
        holders += module.get_submodule("parametrizations").children()
    for holder in holders:
        yield from (p for p in holder._parameters.values() if p is not None and p.dim() >= _MATRIX)


def _problems_of_sharing(
    model: NNCFNetwork, plan: SearchPlan, weight_settings: Callable[[str], Hashable]
) -> Iterator[_Problem]:
    """Searched layers whose parameter another module needs in another form."""
    users: dict[int, list[str]] = {}
    for name, layer in plan.layers.items():
        users.setdefault(id(layer.weight), []).append(name)
    searched = {id(layer) for layer in [*plan.layers.values(), *plan.edges.values()]}
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
        f'"ignored_scopes": {as_json([problem.scope for problem in problems])}'
    )


def refuse_unmatched_scopes(model: NNCFNetwork, config: SLBConfig, own_path: str, outside: Mapping[str, Any]) -> None:
    """Check that each scope matches an operation, and each scope of the overrides a layer with weights.

    NNCF checks the former as well, without a word on what would match.

    Args:
        model: NNCF network.
        config: Settings.
        own_path: Path of the section, for the message.
        outside: Whole config, whose scopes hold for the section as well.

    Raises:
        UnmatchedScopesError: With a line for each scope that matches nothing.
    """
    layers = [node.node_name for node in weighted_nodes(model)]
    operations = [node.node_name for node in model.nncf.get_original_graph().get_all_nodes()]
    scopes = {
        "ignored_scopes": (outside.get("ignored_scopes"), operations),
        "target_scopes": (outside.get("target_scopes"), operations),
        f"{own_path}.ignored_scopes": (config.ignored_scopes, operations),
        f"{own_path}.target_scopes": (config.target_scopes, operations),
    }
    for kind in ("weights", "activations"):
        for index, override in enumerate(getattr(config, kind).overrides):
            scopes[f"{own_path}.{kind}.overrides[{index}].target_scopes"] = (override.target_scopes, layers)
    problems = [
        f"{key}: received {as_json(scope)}, which no layer matches; allowed scope definitions: "
        f"{_suggestion(scope, layers)}. Correct it, or set validate_scopes to false"
        for key, (stated, names) in scopes.items()
        for scope in scope_list(stated)
        if not any(matches_any(name, scope) for name in names)
    ]
    if problems:
        raise UnmatchedScopesError(problems)


def _suggestion(scope: str, layers: list[str]) -> str:
    """The nearest name, also from the path of a module such as ``body.0``."""
    by_path = {plain_path(name): name for name in layers}
    below = [path for path in by_path if path.startswith(f"{scope}.")]
    if below:
        brackets = "/.*".join(re.escape(f"[{part}]") for part in scope.split("."))
        return f"{as_json('{re}' + brackets)} for the {len(below)} layers in it"
    if not layers:
        return "nothing, since the config's other scopes leave out every layer"
    plain = scope.removeprefix("{re}")
    near = difflib.get_close_matches(plain, by_path, 1, cutoff=0.4)
    named = by_path[near[0]] if near else (difflib.get_close_matches(plain, layers, 1, cutoff=0.4) or layers)[0]
    return f'NNCF\'s name of a layer, such as "{named}", or {{re}} and a regular expression that finds some of them'


def refuse_foreign_operations(model: NNCFNetwork, names: Iterable[str]) -> None:
    """Check that no other algorithm of a composite changes the searched weights.

    Raises:
        UnsupportedLayersError: Naming the layers for which one does.
    """
    layers = {name: model.nncf.get_containing_module(name) for name in names}
    foreign = [
        name
        for name, layer in layers.items()
        if any(_changes_weight(op) and op.op is not weight_of(layer) for op in layer.pre_ops.values())
    ]
    if foreign:
        scopes = ", ".join(f'"{name}"' for name in foreign)
        raise UnsupportedLayersError(
            f"another algorithm of the config changes the weights of {len(foreign)} layers that slb searches. Give "
            f'that algorithm "weights": {{"ignored_scopes": [{scopes}]}} (quantization), or "ignored_scopes" with '
            "the same names"
        )


def _changes_weight(operation: Any) -> bool:
    """Whether one of NNCF's operations before a layer gives it another weight, alone or with other parameters."""
    names = getattr(operation, "_param_names", None) or [getattr(operation, "_param_name", None)]
    return "weight" in names


def refuse_ignored_embeddings(model: NNCFNetwork, nncf_config: Mapping[str, Any]) -> None:
    """Check that NNCF's `quantization` is not told to leave the weights of an embedding alone, but to quantize its
    output: it fails then, with an error that says neither.

    Raises:
        ConfigError: With the embeddings and scopes that work on every network.
    """
    embeddings = [
        node.node_name
        for node in weighted_nodes(model)
        if isinstance(model.nncf.get_containing_module(node.node_name), _TABLES)
    ]
    sections = nncf_config.get("compression")
    for index, section in enumerate(sections if isinstance(sections, list) else []):
        if section.get("algorithm") != "quantization":
            continue
        scopes = scope_list(section.get("weights", {}).get("ignored_scopes"))
        others = [*scope_list(section.get("ignored_scopes")), *scope_list(nncf_config.get("ignored_scopes"))]
        ignored = [name for name in embeddings if matches_any(name, scopes) and not matches_any(name, others)]
        if ignored:
            raise ConfigError([
                f"compression[{index}].weights.ignored_scopes: received {as_json(scopes)}, which includes "
                f"{', '.join(ignored)}; allowed: scopes without it, since NNCF quantizes the output of an embedding by "
                'its weights. Write "{re}^(?!.*/[A-Za-z]*Embedding).*$", which leaves all other weights alone, or add '
                "the embedding to the ignored_scopes of the section itself"
            ])  # fmt: skip
