"""What a search of a network will take beyond training it in float, told before anything is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from nncf import NNCFConfig
from nncf.common.scopes import matches_any
from nncf.torch.model_creation import create_nncf_network
from torch import nn

from nncf_slb.config.budget import AUTO
from nncf_slb.hosts.nncf2.builder import SLBBuilder
from nncf_slb.hosts.nncf2.planning import Scopes, plan_search
from nncf_slb.search.values import packed_size
from nncf_slb.tables import terminal_table

_MIB = 2**20


@dataclass(frozen=True)
class LayerCost:
    """One searched layer.

    Attributes:
        name: NNCF's name of it.
        weights: Number of its weights.
        bits: Bits of each, or ``auto``.
        code_bytes: Bytes of its codes in a file; None where the bits are not known yet.
    """

    name: str
    weights: int
    bits: int | str
    code_bytes: int | None


@dataclass(frozen=True)
class SearchCost:
    """What a search takes beyond the float network's training.

    Attributes:
        layers: Searched layers; a shared weight appears once.
        left_out: Layers in scope that stay in full precision, with the reason.
        kept_bytes: Memory that the search keeps as long as it lives: means of the latents, or logits. Checkpoints grow
            by as much; optimizers keep their own numbers of logits besides.
        pass_bytes: Memory from a training pass to its gradients: the weights that it uses, and with gradient descent
            the probabilities.
    """

    layers: tuple[LayerCost, ...]
    left_out: Mapping[str, str]
    kept_bytes: int
    pass_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values."""
        return asdict(self)

    def to_str(self) -> str:
        """Table and two sentences for the terminal."""
        rows = [
            [layer.name, layer.bits, f"{layer.weights:,}", "" if layer.code_bytes is None else f"{layer.code_bytes:,}"]
            for layer in self.layers
        ]
        lines = [terminal_table(["searched layer", "bits", "weights", "bytes of codes"], rows, "lrrr")]
        lines += [f"in full precision: {name} ({reason})" for name, reason in self.left_out.items()]
        lines.append(
            f"memory beyond the float network's training: {self.kept_bytes / _MIB:,.1f} MiB kept, "
            f"{self.pass_bytes / _MIB:,.1f} MiB during a training step"
        )
        return "\n".join(lines)


def search_cost(model: nn.Module, config: Mapping[str, Any]) -> SearchCost:
    """Find the layers that a config would search in a float network, and what that would take.

    Args:
        model: Float network; it becomes an NNCF network.
        config: NNCF config with an slb section and ``input_info``.

    Raises:
        nncf_slb.config.section.ConfigError: If the config cannot be used.
        nncf_slb.hosts.nncf2.planning.UnsupportedLayersError: If layers that are asked for cannot be searched.
    """
    nncf_config = NNCFConfig.from_dict(dict(config))
    builder = SLBBuilder(nncf_config, should_init=False)
    network = create_nncf_network(model, nncf_config)
    edges = builder.slb_config.weights.edges
    plan = plan_search(
        network, Scopes(builder._should_consider_scope, builder._is_target), builder._weight_settings, edges
    )
    settings = builder.slb_config
    layers: dict[int, LayerCost] = {}
    kept = during = 0
    for name, layer in plan.layers.items():
        weight: Any = layer.weight
        if id(weight) in layers:
            continue
        bits = settings.weights.resolve(partial(matches_any, name)).bits
        count, size = weight.numel(), weight.element_size()
        layers[id(weight)] = LayerCost(name, count, bits, None if bits == AUTO else packed_size(count, bits))
        if settings.params.descent == "gradient":
            logits = 2 ** (4 if bits == AUTO else bits) * count * size
            kept, during = kept + logits, during + logits + 2 * count * size
        else:
            kept += count * size if settings.params.averaging else 0
            during += count * size
    return SearchCost(tuple(layers.values()), plan.left_out, kept, during)
