"""``"bits": "auto"``: measures the layers when the model is created and chooses their bits within the budget."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nncf.common.scopes import matches_any
from nncf.torch.nncf_network import NNCFNetwork
from torch import nn

from nncf_slb.bits.allocation import allocate
from nncf_slb.bits.sensitivity import Sensitivities, measure
from nncf_slb.config.budget import AUTO
from nncf_slb.config.section import ConfigError, SLBConfig, find_slb_sections
from nncf_slb.hosts.nncf2.export import example_arguments
from nncf_slb.hosts.nncf2.insertion import make_insertions
from nncf_slb.hosts.nncf2.loaders import REGISTER_LOADER
from nncf_slb.hosts.nncf2.planning import SearchPlan
from nncf_slb.hosts.nncf2.size_prediction import file_sizes, saved_by_quantization
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.batches import Batches
from nncf_slb.search.values import ValueSet, make_values, packed_size

logger = logging.getLogger("nncf_slb")


@dataclass(frozen=True)
class ChosenBits:
    """Bits chosen by measurement, by NNCF node name; empty where the config states all bits.

    Attributes:
        bits: Bits of each layer; layers that share a parameter have the same.
        sensitivities: What was measured, by layer and bits; layers that share a parameter appear once.
    """

    bits: dict[str, int] = field(default_factory=dict)
    sensitivities: Sensitivities = field(default_factory=dict)

    def to_state(self) -> dict[str, Any]:
        """Plain Python values for a checkpoint."""
        return {"bits": dict(self.bits), "sensitivities": {n: dict(each) for n, each in self.sensitivities.items()}}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> ChosenBits:
        """What `to_state` gave, also after a way through JSON, which turns bits into strings."""
        measured = state.get("sensitivities", {}).items()
        sensitivities = {name: {int(bits): number for bits, number in each.items()} for name, each in measured}
        return ChosenBits({name: int(bits) for name, bits in state.get("bits", {}).items()}, sensitivities)


@dataclass(frozen=True)
class _Layer:
    """A parameter whose bits are to be chosen, with all layers that use it; the first one's settings hold."""

    names: list[str]
    module: nn.Module
    candidates: tuple[ValueSet, ...]

    @property
    def weights(self) -> int:
        weight: Any = self.module.weight
        return int(weight.numel())

    @property
    def smallest(self) -> ValueSet:
        return self.candidates[0]


def _layers_to_choose(plan: SearchPlan, config: SLBConfig) -> list[_Layer]:
    users: dict[int, list[str]] = {}
    for name, module in plan.layers.items():
        users.setdefault(id(module.weight), []).append(name)
    layers = []
    for names in users.values():
        settings = config.weights.resolve(partial(matches_any, names[0]))
        if settings.bits == AUTO:
            values = tuple(make_values(settings.values, bits) for bits in settings.candidates)
            layers.append(_Layer(names, plan.layers[names[0]], values))
    return layers


def _by_name(layers: list[_Layer], picked: list[ValueSet]) -> dict[str, int]:
    return {name: values.bits for layer, values in zip(layers, picked, strict=True) for name in layer.names}


def choose_bits(
    model: NNCFNetwork,
    plan: SearchPlan,
    config: SLBConfig,
    nncf_config: Mapping[str, Any],
    batches: Batches | None,
    settings: LoweringSettings,
) -> ChosenBits:
    """Measure the layers whose bits are ``auto``, and choose the bits whose sensitivities have the least sum.

    Args:
        model: NNCF network with float weights, into which nothing has been inserted yet; stays as it is.
        plan: Layers to search.
        config: Settings of slb.
        nncf_config: Whole config.
        batches: Those of the registered data loader; None where none is registered.
        settings: How the network will be exported.

    Raises:
        ConfigError: Without a loader, or if the smallest candidates exceed the budget.
        nncf_slb.openvino.export.ExportError: If the size of the file can't be predicted with the network's inputs.
        SensitivityError: If the sensitivity can't be measured with this network and loader.
    """
    at, budget = f"{find_slb_sections(nncf_config)[0][0]}.weights", config.weights.budget
    assert budget is not None  # the config's own check
    if batches is None:
        raise ConfigError([
            f'{at}.bits: received "auto" without a data loader; allowed: "auto" with one, to measure the layers '
            f"with. {REGISTER_LOADER}"
        ])  # fmt: skip
    layers = _layers_to_choose(plan, config)
    if budget.bytes is None:
        choose = _mean_bits_limit(layers, float(budget.mean_bits or 0), at)
    else:
        choose = _bytes_limit(layers, budget.bytes, at, _size_of(model, plan, config, nncf_config, settings, at))
    seen, runner = batches.take_samples(budget.samples), batches.runner(model)
    modules = {layer.names[0]: layer.module for layer in layers}
    measured = measure(model, modules, {layer.names[0]: layer.candidates for layer in layers}, runner, seen)
    bits = _by_name(layers, choose(measured))
    logger.info("slb: bits chosen within %s: %s", budget.model_dump(exclude_none=True), bits)
    return ChosenBits(bits, measured)


# From sensitivities to the values of each layer.
_Choice = Callable[[Sensitivities], list[ValueSet]]


def _pick(
    layers: list[_Layer], measured: Sensitivities, budget: int, cost: Callable[[int, int], int]
) -> list[ValueSet]:
    options = [
        [(cost(layer.weights, v.bits), measured[layer.names[0]][v.bits]) for v in layer.candidates] for layer in layers
    ]
    return [layer.candidates[index] for layer, index in zip(layers, allocate(options, budget), strict=True)]


def _mean_bits_limit(layers: list[_Layer], mean_bits: float, at: str) -> _Choice:
    count = sum(layer.weights for layer in layers)
    smallest = sum(layer.weights * layer.smallest.bits for layer in layers)
    budget = int(mean_bits * count + 1e-6)
    if smallest > budget:
        least = -(-smallest * 1000 // count) / 1000
        raise ConfigError([_too_small(f"{at}.budget.mean_bits", f"{mean_bits:g}", f"{least:g}")])
    return lambda measured: _pick(layers, measured, budget, lambda weights, bits: weights * bits)


def _bytes_limit(layers: list[_Layer], budget: int, at: str, size_of: Callable[[dict[str, int]], int]) -> _Choice:
    smallest = size_of(_by_name(layers, [layer.smallest for layer in layers]))
    if smallest > budget:
        raise ConfigError([_too_small(f"{at}.budget.bytes", str(budget), str(smallest))])
    least_codes = sum(packed_size(layer.weights, layer.smallest.bits) for layer in layers)

    def choose(measured: Sensitivities) -> list[ValueSet]:
        for_codes = budget - smallest + least_codes
        while True:  # each layer's form brings a few bytes of its own, which depend on its bits
            picked = _pick(layers, measured, for_codes, packed_size)
            excess = size_of(_by_name(layers, picked)) - budget
            if excess <= 0 or for_codes == least_codes:
                return picked
            for_codes = max(least_codes, for_codes - excess)

    return choose


def _too_small(path: str, received: str, least: str) -> str:
    return (
        f"{path}: received {received}; allowed: at least {least}, which the smallest candidates of all layers "
        "need. Raise it, add smaller candidates, or change ignored_scopes"
    )


def _size_of(
    model: NNCFNetwork,
    plan: SearchPlan,
    config: SLBConfig,
    nncf_config: Mapping[str, Any],
    settings: LoweringSettings,
    at: str,
) -> Callable[[dict[str, int]], int]:
    saved = saved_by_quantization(model, plan, nncf_config)
    device = nncf_config.get("target_device")
    layers = _layers_to_choose(plan, config)
    insertions = {
        width: make_insertions(model, plan, config, device, None, _by_name(layers, _near(layers, width)))
        for width in sorted({values.bits for layer in layers for values in layer.candidates})
    }
    names = [name for layer in layers for name in layer.names]
    try:
        sizes = file_sizes(model, insertions, names, example_arguments(model), settings)
    except Exception as error:  # OpenVINO's share no class of their own
        raise ConfigError([
            f"{at}.budget.bytes: received a network that OpenVINO cannot convert, so its size is unknown; allowed: "
            f"mean_bits for such a network. The converter says: {error}"
        ]) from error  # fmt: skip
    return lambda bits: sizes.size(bits) - saved


def _near(layers: list[_Layer], width: int) -> list[ValueSet]:
    """The candidate of that width for each layer, or the first one where it has none."""
    return [next((v for v in layer.candidates if v.bits == width), layer.smallest) for layer in layers]


def refuse_missing_bits(
    chosen: ChosenBits, plan: SearchPlan, config: SLBConfig, nncf_config: Mapping[str, Any]
) -> None:
    """Check bits from a compression state against the layers that need them.

    Raises:
        ConfigError: Naming the layers that the state holds no bits for.
    """
    at = find_slb_sections(nncf_config)[0][0]
    missing = [n for layer in _layers_to_choose(plan, config) for n in layer.names if n not in chosen.bits]
    if missing:
        raise ConfigError([
            f'{at}.weights.bits: received "auto" and a compression state without bits for {", ".join(missing)}; '
            "allowed: the state of a model that was created with the same layers and bits. Use the config that the "
            "checkpoint was made with"
        ])  # fmt: skip
