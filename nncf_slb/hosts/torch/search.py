"""A copy of a plain network with a search inside."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from nncf_slb.config.section import FULL_PRECISION, ResolvedActivations, SLBConfig
from nncf_slb.hosts.dataflow import RunLayer
from nncf_slb.hosts.torch.insertion import insert_quantizer, insert_weight, strip_
from nncf_slb.hosts.torch.planning import Plan, matches
from nncf_slb.hosts.trial import make_numbers_differ, trial_quantizer
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.eight_bits import eight_bit_codes
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
        weights: Searched and fixed weights by the path of the layer.
        quantizers: Quantizers of inputs by the path of the layer.
    """

    search: SearchState = field(default_factory=SearchState)
    weights: dict[str, SearchableWeight | FixedWeight] = field(default_factory=dict)
    quantizers: dict[str, ActivationQuantizer] = field(default_factory=dict)

    def bits(self, path: str) -> int:
        """Bits of a layer's weights."""
        weight = self.weights[path]
        return weight.values.bits if isinstance(weight, SearchableWeight) else weight.bits


def insert_search(network: nn.Module, plan: Plan, config: SLBConfig, bits: Mapping[str, int]) -> Inserted:
    """Put the modules of a plan into a network.

    Args:
        network: Network with the paths of the plan; changed.
        plan: Layers to search, and edges.
        config: Settings.
        bits: Bits of the layers whose settings say ``auto``, by path.
    """
    inserted = Inserted()
    weights: dict[int, SearchableWeight | FixedWeight] = {}
    quantizers: dict[Any, ActivationQuantizer] = {}
    places = {path: Place.of(network, layer) for path, layer in (plan.searched | plan.edges).items()}
    sources = {path: layer.source for path, layer in (plan.searched | plan.edges).items()}
    for path, (module, name) in places.items():
        weight: Any = getattr(module, name)
        if id(weight) not in weights:
            if path in plan.edges:
                weights[id(weight)] = FixedWeight(eight_bit_codes(module))
            else:
                weights[id(weight)] = _searchable(path, module, name, config, bits, inserted.search)
        inserted.weights[path] = weights[id(weight)]
        activations = inputs_of(path, plan, config)
        if activations.bits != FULL_PRECISION:
            key = (sources[path], activations)
            if key not in quantizers:
                assert activations.mode is not None  # by the config, where inputs are quantized
                quantizers[key] = ActivationQuantizer(activations.bits, activations.mode, activations.signed)
                quantizers[key].to(weight.device)
            inserted.quantizers[path] = quantizers[key]
    for searchable in inserted.search.weights:
        searchable.begin()
    for path, (module, name) in places.items():
        if path in plan.edges or config.params.descent == "gradient":  # nothing uses the float weight any more
            getattr(module, name).requires_grad_(False)
        insert_weight(module, inserted.weights[path], name)
        if path in inserted.quantizers:
            insert_quantizer(module, inserted.quantizers[path])
    inserted.search.watch(network)
    return inserted


def trial_network(network: nn.Module, plan: Plan, config: SLBConfig, bits: Mapping[str, int]) -> nn.Module:
    """A stripped copy of a float network as a search will leave it, with random numbers in place of trained ones."""
    trial = copy.deepcopy(network)
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
    path: str, module: nn.Module, name: str, config: SLBConfig, bits: Mapping[str, int], search: SearchState
) -> SearchableWeight:
    settings = config.weights.resolve(partial(matches, path))
    values = make_values(settings.values, bits[path] if settings.bits == "auto" else settings.bits)
    return SearchableWeight(
        module, values, settings.scale, config.initializer.sharpness, config.initializer.logits == "random",
        config.params.descent, config.params.averaging, search, name,
    ).to(getattr(module, name).device)  # fmt: skip
