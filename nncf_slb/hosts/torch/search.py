"""A copy of a plain network with a search inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from nncf_slb.config.section import FULL_PRECISION, ResolvedActivations, SLBConfig
from nncf_slb.hosts.copying import copied
from nncf_slb.hosts.dataflow import RunLayer
from nncf_slb.hosts.torch.insertion import insert_quantizer, insert_weight, strip_
from nncf_slb.hosts.torch.planning import Plan, matches
from nncf_slb.hosts.trial import make_numbers_differ, trial_quantizer
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.eight_bits import eight_bit_codes
from nncf_slb.search.fast_path import run_all_layers_
from nncf_slb.search.runtime import FixedWeight
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState
from nncf_slb.search.values import make_values


class Place(NamedTuple):
    """Where a weight is: its module, and its name there."""

    module: nn.Module
    name: str

    @staticmethod
    def of(network: nn.Module, layer: RunLayer) -> Place:
        """The place in a network with the paths of the one that was observed."""
        owner = layer.path if layer.function is None else layer.path.rpartition(".")[0]
        return Place(network.get_submodule(owner), layer.parameter)


@dataclass
class Inserted:
    """What was put into a network; layers that share a parameter or an input share the module.

    Attributes:
        search: State of the search.
        places: Where the weights are, by the path of the layer.
        float_names: What the float network's state dict calls them, likewise.
        weights: Searched and fixed weights by the path of the layer.
        quantizers: Quantizers of inputs by the path of the layer.
    """

    search: SearchState = field(default_factory=SearchState)
    places: dict[str, Place] = field(default_factory=dict)
    float_names: dict[str, str] = field(default_factory=dict)
    weights: dict[str, SearchableWeight | FixedWeight] = field(default_factory=dict)
    quantizers: dict[str, ActivationQuantizer] = field(default_factory=dict)

    @property
    def searched(self) -> dict[str, SearchableWeight]:
        """Those of the weights that are searched."""
        return {path: weight for path, weight in self.weights.items() if isinstance(weight, SearchableWeight)}

    @property
    def fixed(self) -> dict[str, FixedWeight]:
        """Those of first and last layers in 8 bits."""
        return {path: weight for path, weight in self.weights.items() if isinstance(weight, FixedWeight)}

    def bits(self, path: str) -> int:
        """Bits of a layer's weights."""
        weight = self.weights[path]
        return weight.values.bits if isinstance(weight, SearchableWeight) else weight.bits


@dataclass(frozen=True)
class Kinds:
    """Classes of what is put into a network; a host may have its own, derived from these."""

    searchable: type[SearchableWeight] = SearchableWeight
    fixed: type[FixedWeight] = FixedWeight
    quantizer: type[ActivationQuantizer] = ActivationQuantizer


def make_search(
    network: nn.Module, plan: Plan, config: SLBConfig, bits: Mapping[str, int], kinds: Kinds | None = None
) -> Inserted:
    """Make the modules of a plan, which a host then puts into the network.

    Args:
        network: Network with the paths of the plan; its weights become latents.
        plan: Layers to search, and edges.
        config: Settings.
        bits: Bits of the layers whose settings say ``auto``, by path.
        kinds: Classes of the modules.
    """
    kinds = kinds or Kinds()
    inserted = Inserted(places={path: Place.of(network, x) for path, x in (plan.searched | plan.edges).items()})
    inserted.float_names = {
        path: path if layer.function else f"{path}.{layer.parameter}".lstrip(".")
        for path, layer in (plan.searched | plan.edges).items()
    }
    sources = {path: layer.source for path, layer in (plan.searched | plan.edges).items()}
    weights: dict[int, SearchableWeight | FixedWeight] = {}
    quantizers: dict[Any, ActivationQuantizer] = {}
    in_integers = {
        id(getattr(*place))
        for path, place in inserted.places.items()
        if inputs_of(path, plan, config).bits != FULL_PRECISION
    }
    for path, place in inserted.places.items():
        weight: Any = getattr(*place)
        if id(weight) not in weights:
            if path in plan.edges:
                weights[id(weight)] = kinds.fixed(eight_bit_codes(place.module, id(weight) in in_integers))
            else:
                weights[id(weight)] = _searchable(path, place, config, bits, inserted.search, kinds)
        inserted.weights[path] = weights[id(weight)]
        activations = inputs_of(path, plan, config)
        if activations.bits != FULL_PRECISION:
            key = (sources[path], activations)
            if key not in quantizers:
                assert activations.mode is not None  # by the config, where inputs are quantized
                quantizers[key] = kinds.quantizer(activations.bits, activations.mode, activations.signed)
                quantizers[key].to(weight.device)
            inserted.quantizers[path] = quantizers[key]
    for searchable in inserted.search.weights:
        searchable.begin()
    for path, place in inserted.places.items():
        if path in plan.edges or config.params.descent == "gradient":  # nothing uses the float weight any more
            getattr(*place).requires_grad_(False)
    return inserted


def insert_search(network: nn.Module, plan: Plan, config: SLBConfig, bits: Mapping[str, int]) -> Inserted:
    """Put the modules of a plan into a network, in place; arguments as for `make_search`."""
    inserted = make_search(network, plan, config, bits)
    for path, (module, name) in inserted.places.items():
        insert_weight(module, inserted.weights[path], name)
        if path in inserted.quantizers:
            insert_quantizer(module, inserted.quantizers[path])
    inserted.search.watch(network)
    run_all_layers_(network)
    return inserted


def trial_network(network: nn.Module, plan: Plan, config: SLBConfig, bits: Mapping[str, int]) -> nn.Module:
    """A stripped copy of a float network as a search will leave it, with random numbers in place of trained ones."""
    trial = copied(network)
    inserted = insert_search(trial, plan, config, bits)
    numbers = torch.Generator().manual_seed(0)
    for quantizer in dict.fromkeys(inserted.quantizers.values()):
        quantizer.load_state_dict(trial_quantizer(quantizer, numbers).state_dict())
    strip_(trial)
    make_numbers_differ(trial, numbers)
    return trial


def inputs_of(path: str, plan: Plan, config: SLBConfig) -> ResolvedActivations:
    """Settings of a layer's inputs: of first and last layers 8 bits where those of the others are quantized."""
    resolved = config.activations.resolve(partial(matches, path))
    return resolved.of_edge() if path in plan.edges else resolved


def _searchable(
    path: str, place: Place, config: SLBConfig, bits: Mapping[str, int], search: SearchState, kinds: Kinds
) -> SearchableWeight:
    settings = config.weights.resolve(partial(matches, path))
    values = make_values(settings.values, bits[path] if settings.bits == "auto" else settings.bits)
    return kinds.searchable(
        place.module, values, settings.scale, config.initializer.sharpness, config.initializer.logits == "random",
        config.params.descent, config.params.averaging, search, place.name,
    ).to(getattr(*place).device)  # fmt: skip
