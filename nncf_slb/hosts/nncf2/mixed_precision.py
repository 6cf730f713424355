"""``"bits": "auto"`` in NNCF: which layers are open, what their files would take, and errors in words of the config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from nncf.common.scopes import matches_any
from nncf.torch.nncf_network import NNCFNetwork

from nncf_slb.bits import choice as bits_choice
from nncf_slb.bits.allocation import BudgetTooSmallError
from nncf_slb.bits.choice import ChosenBits, OpenLayer, bits_by_name, within_bytes, within_mean_bits
from nncf_slb.config.budget import AUTO
from nncf_slb.config.section import ConfigError, SLBConfig, find_slb_sections
from nncf_slb.hosts.nncf2.export import example_arguments
from nncf_slb.hosts.nncf2.insertion import make_insertions
from nncf_slb.hosts.nncf2.loaders import REGISTER_LOADER
from nncf_slb.hosts.nncf2.planning import SearchPlan
from nncf_slb.hosts.nncf2.size_prediction import file_sizes, saved_by_quantization
from nncf_slb.hosts.resuming import plain_path, refuse_missing
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.batches import Batches
from nncf_slb.search.values import make_values

logger = logging.getLogger("nncf_slb")


def _layers_to_choose(plan: SearchPlan, config: SLBConfig) -> list[OpenLayer]:
    users: dict[int, list[str]] = {}
    for name, module in plan.layers.items():
        users.setdefault(id(module.weight), []).append(name)
    layers = []
    for names in users.values():
        settings = config.weights.resolve(partial(matches_any, names[0]))
        if settings.bits == AUTO:
            values = tuple(make_values(settings.values, bits) for bits in settings.candidates)
            layers.append(OpenLayer(names, plan.layers[names[0]], values))
    return layers


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
        nncf_slb.openvino.low_bit_model.ExportError: If the size of the file can't be predicted with these inputs.
        SensitivityError: If the sensitivity can't be measured with this network and loader.
    """
    path, budget = f"{find_slb_sections(nncf_config)[0][0]}.weights", config.weights.budget
    assert budget is not None  # the config's own check
    if batches is None:
        raise ConfigError([
            f'{path}.bits: received "auto" without a data loader; allowed: "auto" with one, to measure the layers '
            f"with. {REGISTER_LOADER}"
        ])  # fmt: skip
    layers = _layers_to_choose(plan, config)
    if budget.bytes is not None:
        size_of = _size_of(model, plan, config, nncf_config, settings, path)
    try:
        if budget.bytes is None:
            choice = within_mean_bits(layers, float(budget.mean_bits or 0))
        else:
            choice = within_bytes(layers, budget.bytes, size_of)
    except BudgetTooSmallError as error:
        name, stated = ("mean_bits", budget.mean_bits) if budget.bytes is None else ("bytes", budget.bytes)
        raise ConfigError([
            f"{path}.budget.{name}: received {stated}; allowed: at least {error.smallest}, which the smallest "
            "candidates of all layers need. Raise it, add smaller candidates, or change ignored_scopes"
        ]) from error  # fmt: skip
    seen = batches.take_samples(budget.samples)
    chosen = bits_choice.choose_bits(model, layers, choice, batches.runner(model), seen)
    logger.info("slb: bits chosen within %s: %s", budget.model_dump(exclude_none=True), chosen.bits)
    return chosen


def _size_of(
    model: NNCFNetwork,
    plan: SearchPlan,
    config: SLBConfig,
    nncf_config: Mapping[str, Any],
    settings: LoweringSettings,
    path: str,
) -> Callable[[dict[str, int]], int]:
    saved = saved_by_quantization(model, plan, nncf_config)
    device = nncf_config.get("target_device")
    layers = _layers_to_choose(plan, config)
    insertions = {
        width: make_insertions(model, plan, config, device, None, _at_width(layers, width))
        for width in sorted({values.bits for layer in layers for values in layer.candidates})
    }
    names = [name for layer in layers for name in layer.names]
    try:
        sizes = file_sizes(model, insertions, names, example_arguments(model), settings)
    except Exception as error:  # OpenVINO's share no class of their own
        raise ConfigError([
            f"{path}.budget.bytes: received a network that OpenVINO cannot convert, so its size is unknown; allowed: "
            f"mean_bits for such a network. The converter says: {error}"
        ]) from error  # fmt: skip
    return lambda bits: sizes.size(bits) - saved


def _at_width(layers: list[OpenLayer], width: int) -> dict[str, int]:
    return bits_by_name(layers, [layer.candidate_near(width) for layer in layers])


def bits_of_state(
    chosen: ChosenBits, plan: SearchPlan, config: SLBConfig, nncf_config: Mapping[str, Any]
) -> ChosenBits:
    """Bits from a compression state by NNCF's names, also of one that another host wrote.

    Raises:
        ConfigError: Naming the layers that the state holds no bits for.
    """
    needed = [name for layer in _layers_to_choose(plan, config) for name in layer.names]
    bits = {name: bits for name in plan.layers if (bits := chosen.bits.get(name, chosen.bits.get(plain_path(name))))}
    refuse_missing(bits, needed, f"{find_slb_sections(nncf_config)[0][0]}.weights")
    return ChosenBits(bits, chosen.sensitivities)
