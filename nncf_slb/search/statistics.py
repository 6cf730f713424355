"""What the search has decided so far, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nncf_slb.search.channels import zero_channels
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import WeightKind
from nncf_slb.search.values import packed_size
from nncf_slb.tables import terminal_table


@dataclass(frozen=True)
class LayerStatistics:
    """State of one searched layer.

    Attributes:
        name: The host's name of the layer.
        weights: Number of weights.
        bits: Bits of one stored weight.
        bytes: Bytes of the codes in an exported file.
        mean_confidence: Mean over the weights of the largest probability.
        lowest_confidence: Lowest of them.
        values: The values, ascending, in units of the layer's scale.
        histogram: Share of the weights at each value.
        distance: Distance between expected and chosen weights, relative to the chosen ones (2-norms).
        confidence_histogram: Share of the weights with a confidence in each of 20 equal parts of [0, 1], ascending.
        changed: Share of the weights whose chosen value is another one than at the beginning of the epoch.
        zero_channels: Output channels whose chosen weights are all zero.
    """

    name: str
    weights: int
    bits: int
    bytes: int
    mean_confidence: float
    lowest_confidence: float
    values: tuple[float, ...]
    histogram: tuple[float, ...]
    distance: float
    confidence_histogram: tuple[float, ...]
    changed: float
    zero_channels: int


@dataclass(frozen=True)
class SearchStatistics:
    """Statistics of a search.

    Attributes:
        inverse_temperature: Current ``1 / tau``.
        layers: One entry per searched layer.
        full_precision_layers: Names of layers with weights that are left as they are.
        eight_bit_layers: Names of first and last layers whose weights are rounded to 8 bits.
        sensitivities: Where bits are ``auto``: for each layer, its sensitivity by bits (`nncf_slb.bits.sensitivity`);
            layers that share a parameter appear once.
        left_out: Those of the full precision layers that no scope leaves out, with the reason why they are.
        left_out_share: Their share of all weights of the network, 0 to 1.
    """

    inverse_temperature: float
    layers: tuple[LayerStatistics, ...]
    full_precision_layers: tuple[str, ...]
    sensitivities: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    left_out_share: float = 0.0
    eight_bit_layers: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of all stored codes."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def mean_bits(self) -> float:
        """Mean bits of a searched weight."""
        return sum(x.bits * x.weights for x in self.layers) / max(1, sum(x.weights for x in self.layers))

    def to_str(self) -> str:
        """Table for the terminal."""
        rows = [
            [
                layer.name, layer.bits, f"{layer.bytes:,}", f"{layer.mean_confidence:.3f}", f"{layer.distance:.3f}",
                " ".join(f"{share:.0%}" for share in layer.histogram),
            ]
            for layer in self.layers
        ]  # fmt: skip
        header = ["layer", "bits", "bytes", "confidence", "distance", "shares"]
        lines = [
            f"slb: 1/tau {self.inverse_temperature:.4g}, {len(rows)} layers searched, mean bits {self.mean_bits:.2f}, "
            f"{self.bytes:,} bytes of codes",
            terminal_table(header, rows, "lrrrrw"),
            f"8 bits: {', '.join(self.eight_bit_layers)}" if self.eight_bit_layers else "",
            "full precision: " + (", ".join(self.full_precision_layers) or "none"),
            self._left_out_table(),
            self._sensitivity_table(),
        ]
        return "\n".join(line for line in lines if line)

    def _left_out_table(self) -> str:
        if not self.left_out:
            return ""
        lines = [f"in scope, but not searched: {self.left_out_share:.1%} of all weights"]
        return "\n".join([*lines, *(f"  {name}: {reason}" for name, reason in self.left_out.items())])

    def _sensitivity_table(self) -> str:
        """What was measured at each width; a star marks the chosen one."""
        widths = sorted({bits for measured in self.sensitivities.values() for bits in measured})
        chosen = {layer.name: layer.bits for layer in self.layers}
        rows = [
            [name, *(f"{m[b]:.2e}{'*' if chosen.get(name) == b else ' '}" if b in m else "" for b in widths)]
            for name, m in self.sensitivities.items()
        ]
        header = ["sensitivity (* chosen)", *(f"{bits}-bit " for bits in widths)]
        return terminal_table(header, rows, "l" + "r" * len(widths))


@torch.no_grad()
def layer_statistics(name: str, searchable: SearchableWeight, codes_before: Tensor | None = None) -> LayerStatistics:
    """Measure one layer; costs about one forward pass of its weights.

    Args:
        name: The host's name of the layer.
        searchable: Its weight.
        codes_before: Codes, uint8, at the beginning of the epoch; None before the first one.
    """
    confidence = searchable.confidence()
    codes = searchable.codes()
    chosen, expected = (weight_of_kind(searchable, kind) for kind in (WeightKind.CHOSEN, WeightKind.EXPECTED))
    count, bits = codes.numel(), searchable.values.bits
    histogram = torch.bincount(codes.flatten().long(), minlength=len(searchable.values)).double() / count
    return LayerStatistics(
        name=name,
        weights=count,
        bits=bits,
        bytes=packed_size(count, bits),
        mean_confidence=float(confidence.mean()),
        lowest_confidence=float(confidence.min()),
        values=tuple(value * searchable.values.step for value in searchable.values.table),
        histogram=tuple(histogram.tolist()),
        distance=float((expected - chosen).norm() / chosen.norm().clamp_min(1e-12)),
        confidence_histogram=tuple((torch.histc(confidence.float(), 20, 0, 1).double() / count).tolist()),
        changed=0.0 if codes_before is None else float((codes != codes_before).double().mean()),
        zero_channels=zero_channels(chosen, searchable.groups),
    )


def weight_of_kind(searchable: SearchableWeight, kind: WeightKind) -> Tensor:
    """The expected or the chosen weight, whatever mode the module is in."""
    with searchable.search.using(kind):
        return searchable()  # type: ignore[no-any-return]


def layers_statistics(
    searchable: Mapping[str, SearchableWeight], codes_before: Mapping[SearchableWeight, Tensor]
) -> tuple[LayerStatistics, ...]:
    """`layer_statistics` of each layer; `codes_before` by weight."""
    return tuple(layer_statistics(name, module, codes_before.get(module)) for name, module in searchable.items())
