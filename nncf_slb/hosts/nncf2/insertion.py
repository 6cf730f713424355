"""Makes what the algorithm inserts: a `SearchableWeight` per weight, an `ActivationQuantizer` per quantized input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nncf.common.graph.transformations.commands import TargetType
from nncf.common.scopes import matches_any
from nncf.torch.graph.transformations.commands import PTInsertionCommand, PTTargetPoint, TransformationPriority
from nncf.torch.graph.transformations.layout import PTTransformationLayout
from nncf.torch.module_operations import BaseOp
from nncf.torch.nncf_network import NNCFNetwork
from nncf.torch.utils import get_model_device
from torch import nn

from nncf_slb.config.devices import find_target_device
from nncf_slb.config.section import FULL_PRECISION, ResolvedActivations, SLBConfig
from nncf_slb.hosts.nncf2.planning import SearchPlan, UnsupportedLayersError
from nncf_slb.openvino.targets import why_not_binary
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.choices import ScaleName
from nncf_slb.search.eight_bits import eight_bit_codes
from nncf_slb.search.runtime import FixedWeight
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState
from nncf_slb.search.values import ValueSet, make_values


class QuantizeInput(BaseOp):  # type: ignore[misc]
    """Pre-operation of a layer that quantizes the first of its inputs."""

    def __call__(self, _: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """NNCF's call: (layer, inputs) -> inputs."""
        return (self.op(inputs[0]), *inputs[1:])


@dataclass(frozen=True)
class _LayerSettings:
    """What the config says of one layer."""

    values: ValueSet
    scale: ScaleName
    activations: ResolvedActivations

    @property
    def pair(self) -> str:
        return f"W{self.values.bits}A{self.activations.bits}"


@dataclass
class Insertions:
    """Modules by NNCF node name; layers that share a parameter or an input share the module."""

    search: SearchState = field(default_factory=SearchState)
    weights: dict[str, SearchableWeight | FixedWeight] = field(default_factory=dict)
    quantizers: dict[str, ActivationQuantizer] = field(default_factory=dict)

    @property
    def searched(self) -> dict[str, SearchableWeight]:
        """Those of the weights that are searched."""
        return {name: weight for name, weight in self.weights.items() if isinstance(weight, SearchableWeight)}

    @property
    def fixed(self) -> dict[str, FixedWeight]:
        """Those of first and last layers in 8 bits."""
        return {name: weight for name, weight in self.weights.items() if isinstance(weight, FixedWeight)}

    def layout(self) -> PTTransformationLayout:
        """Commands that put the modules in front of their layers."""
        layout = PTTransformationLayout()
        for name, searchable in self.weights.items():
            point = PTTargetPoint(TargetType.OPERATION_WITH_WEIGHTS, target_node_name=name)
            layout.register(PTInsertionCommand(point, searchable, TransformationPriority.SPARSIFICATION_PRIORITY))
        for name, quantizer in self.quantizers.items():
            point = PTTargetPoint(TargetType.PRE_LAYER_OPERATION, target_node_name=name)
            operation = QuantizeInput(quantizer)
            layout.register(PTInsertionCommand(point, operation, TransformationPriority.QUANTIZATION_PRIORITY))
        return layout


def make_insertions(
    model: NNCFNetwork,
    plan: SearchPlan,
    config: SLBConfig,
    target_device: str | None,
    lr_multiplier: float | None,
    bits: Mapping[str, int],
) -> Insertions:
    """Make the modules of a plan, on the model's device.

    Args:
        model: NNCF network.
        plan: Layers to search.
        config: Settings.
        target_device: NNCF's top-level setting of that name.
        lr_multiplier: Factor of the gradients of the modules' parameters; None for 1.
        bits: Bits of the layers whose settings say ``auto``, by node name.

    Raises:
        UnsupportedLayersError: Naming every layer whose pair of weights and inputs can't run as asked.
    """
    layer_settings = {name: _settings_of(name, config, bits) for name in plan.layers}
    _refuse_impossible_pairs(plan, layer_settings, config, find_target_device(target_device))
    device = get_model_device(model)
    insertions, quantizers = Insertions(), dict[Any, ActivationQuantizer]()
    weights: dict[int, SearchableWeight | FixedWeight] = {}
    in_integers = {
        id(layer.weight) for name, layer in plan.edges.items() if _inputs_of_edge(name, config).bits != FULL_PRECISION
    }
    for name, layer in (plan.layers | plan.edges).items():
        weight: Any = layer.weight
        if id(weight) not in weights and name in plan.edges:
            weights[id(weight)] = FixedWeight(eight_bit_codes(layer, id(weight) in in_integers)).to(device)
        elif id(weight) not in weights:
            weights[id(weight)] = _make_weight(layer, layer_settings[name], config, insertions.search).to(device)
        insertions.weights[name] = weights[id(weight)]
        activations = _inputs_of_edge(name, config) if name in plan.edges else layer_settings[name].activations
        if activations.bits != FULL_PRECISION:
            key = (_producer(model, name), activations)
            if key not in quantizers:
                quantizers[key] = _make_quantizer(activations).to(device)
            insertions.quantizers[name] = quantizers[key]
    _set_gradients(insertions, plan, lr_multiplier)
    return insertions


def _settings_of(name: str, config: SLBConfig, bits: Mapping[str, int]) -> _LayerSettings:
    def match(scopes: list[str]) -> bool:
        return bool(matches_any(name, scopes))

    weights = config.weights.resolve(match)
    values = make_values(weights.values, bits[name] if weights.bits == "auto" else weights.bits)
    return _LayerSettings(values, weights.scale, config.activations.resolve(match))


def _inputs_of_edge(name: str, config: SLBConfig) -> ResolvedActivations:
    return config.activations.resolve(lambda scopes: bool(matches_any(name, scopes))).of_edge()


def _producer(model: NNCFNetwork, name: str) -> tuple[Any, ...]:
    """Where a layer's input comes from: the same for all consumers of one tensor."""
    graph = model.nncf.get_original_graph()
    edges = graph.get_input_edges(graph.get_node_by_name(name))
    first = min(edges, key=lambda edge: edge.input_port_id, default=None)
    return (name,) if first is None else (first.from_node.node_name, first.output_port_id)


def _make_quantizer(settings: ResolvedActivations) -> ActivationQuantizer:
    assert settings.mode is not None  # by the config, where inputs are quantized
    return ActivationQuantizer(settings.bits, settings.mode, settings.signed)


def _make_weight(
    layer: nn.Module, settings: _LayerSettings, config: SLBConfig, search: SearchState
) -> SearchableWeight:
    initializer = config.initializer
    weight: Any = layer.weight
    return SearchableWeight(
        layer,
        settings.values,
        scale=settings.scale,
        sharpness=initializer.sharpness,
        # Nothing trains a frozen weight, so random logits would stay its weights.
        random=initializer.logits == "random" and weight.requires_grad,
        descent=config.params.descent,
        averaging=config.params.averaging,
        search=search,
    )


def _set_gradients(insertions: Insertions, plan: SearchPlan, lr_multiplier: float | None) -> None:
    """Frozen layers stay frozen; a module that a trained layer uses as well is trained."""
    trained: set[nn.Module] = set()
    modules: dict[nn.Module, None] = {}
    for name, layer in (plan.layers | plan.edges).items():
        layer_modules = [
            module for module in (insertions.weights[name], insertions.quantizers.get(name)) if module is not None
        ]
        modules.update(dict.fromkeys(layer_modules))
        weight: Any = layer.weight
        if weight.requires_grad:
            trained.update(layer_modules)
    for module in modules:
        latents = [module.searched] if isinstance(module, SearchableWeight) else []
        for parameter in dict.fromkeys([*module.parameters(), *latents]):
            if module not in trained or isinstance(module, FixedWeight):
                parameter.requires_grad_(False)
            elif lr_multiplier is not None:
                parameter.register_hook(lambda grad: lr_multiplier * grad)  # type: ignore[no-untyped-call]


def _refuse_impossible_pairs(
    plan: SearchPlan, layer_settings: dict[str, _LayerSettings], config: SLBConfig, target_device: str
) -> None:
    problems = list(_impossible_pairs(plan, layer_settings, config, target_device))
    if problems:
        raise UnsupportedLayersError("slb cannot run these layers as the config asks:\n" + "\n".join(problems))


def _impossible_pairs(
    plan: SearchPlan, layer_settings: dict[str, _LayerSettings], config: SLBConfig, target_device: str
) -> Iterator[str]:
    always = config.openvino.binary_convolution == "always"
    for name, layer in plan.layers.items():
        settings = layer_settings[name]
        bits = settings.activations.bits
        if target_device == "NPU" and not settings.values.is_integer:
            yield (
                f"  {name}: {settings.pair} with target_device NPU: its values are not integers up to 64 times one "
                "step, so the types that the NPU reads cannot hold them. Possible: values that are"
            )
        elif bits != FULL_PRECISION and not settings.values.is_integer:
            yield (
                f"  {name}: {settings.pair}: its values are not integers up to 64 times one step, so integer kernels "
                "do not compute with them. Possible: activations.bits 32 for this layer, or values that are"
            )
        elif always and bits == 1 and settings.values.bits == 1:
            reason = why_not_binary(layer, settings.values.table)
            if target_device != "CPU":
                reason = f"target_device is {target_device}, and only the CPU has that kernel"
            if reason:
                yield (
                    f'  {name}: {settings.pair} with openvino.binary_convolution "always": {reason}. Possible: "auto" '
                    'or "never", which run it in 8 bits'
                )
