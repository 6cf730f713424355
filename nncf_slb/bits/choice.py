"""Bits of each layer within a budget: what is measured, what may be spent, and what is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from nncf_slb.bits.allocation import BudgetTooSmallError, allocate
from nncf_slb.bits.sensitivity import Sensitivities, measure
from nncf_slb.search.values import ValueSet, packed_size


@dataclass(frozen=True)
class ChosenBits:
    """Bits chosen by measurement, by the host's name of the layer; empty where the config states all bits.

    Attributes:
        bits: Bits of each layer; layers that share a parameter have the same.
        sensitivities: What was measured, by layer and bits; layers that share a parameter appear once.
    """

    bits: dict[str, int] = field(default_factory=dict)
    sensitivities: Sensitivities = field(default_factory=dict)

    def to_state(self) -> dict[str, Any]:
        """Plain Python values for a checkpoint."""
        sensitivities = {name: dict(by_bits) for name, by_bits in self.sensitivities.items()}
        return {"bits": dict(self.bits), "sensitivities": sensitivities}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> ChosenBits:
        """What `to_state` gave, also after a way through JSON, which turns bits into strings."""
        sensitivities = {
            name: {int(bits): number for bits, number in by_bits.items()}
            for name, by_bits in state.get("sensitivities", {}).items()
        }
        return ChosenBits({name: int(bits) for name, bits in state.get("bits", {}).items()}, sensitivities)


@dataclass(frozen=True)
class OpenLayer:
    """A parameter whose bits are to be chosen, with all layers that use it.

    Attributes:
        names: Names of the layers; the first one's stands for all.
        module: The first layer.
        candidates: Values to choose from, of ascending bits.
    """

    names: list[str]
    module: nn.Module
    candidates: tuple[ValueSet, ...]

    @property
    def weights(self) -> int:
        """Numbers in the parameter."""
        weight: Any = self.module.weight
        return int(weight.numel())

    @property
    def smallest(self) -> ValueSet:
        """Candidate of the fewest bits."""
        return self.candidates[0]

    def candidate_near(self, bits: int) -> ValueSet:
        """The candidate of these bits, or the smallest where there is none."""
        return next((values for values in self.candidates if values.bits == bits), self.smallest)


# From sensitivities to the values of each layer.
Choice = Callable[[Sensitivities], list[ValueSet]]


def bits_by_name(layers: Sequence[OpenLayer], values: Iterable[ValueSet]) -> dict[str, int]:
    """Bits of all layers by name, from the values of each parameter."""
    return {name: picked.bits for layer, picked in zip(layers, values, strict=True) for name in layer.names}


def choose_bits(
    model: nn.Module,
    layers: Sequence[OpenLayer],
    choice: Choice,
    run_batch: Callable[[Any], Any],
    batches: Iterable[Any],
) -> ChosenBits:
    """Measure layers, and choose their bits; arguments and errors as for `nncf_slb.bits.sensitivity.measure`.

    Args:
        model: Float network; stays as it is.
        layers: Layers to choose for.
        choice: From `within_mean_bits` or `within_bytes`.
        run_batch: Runs the model on one item of `batches`.
        batches: Input batches.
    """
    modules = {layer.names[0]: layer.module for layer in layers}
    candidates = {layer.names[0]: layer.candidates for layer in layers}
    measured = measure(model, modules, candidates, run_batch, batches)
    return ChosenBits(bits_by_name(layers, choice(measured)), measured)


def _pick(
    layers: Sequence[OpenLayer], measured: Sensitivities, budget: int, cost: Callable[[int, int], int]
) -> list[ValueSet]:
    options = [
        [(cost(layer.weights, v.bits), measured[layer.names[0]][v.bits]) for v in layer.candidates] for layer in layers
    ]
    return [layer.candidates[index] for layer, index in zip(layers, allocate(options, budget), strict=True)]


def within_mean_bits(layers: Sequence[OpenLayer], mean_bits: float) -> Choice:
    """Choice within a mean of bits over all weights of the layers.

    Raises:
        BudgetTooSmallError: With the least mean that the smallest candidates need, rounded up to thousandths.
    """
    count = sum(layer.weights for layer in layers)
    smallest = sum(layer.weights * layer.smallest.bits for layer in layers)
    budget = int(mean_bits * count + 1e-6)
    if smallest > budget:
        raise BudgetTooSmallError(mean_bits, -(-smallest * 1000 // count) / 1000)
    return lambda measured: _pick(layers, measured, budget, lambda weights, bits: weights * bits)


def within_bytes(layers: Sequence[OpenLayer], budget: int, size_of: Callable[[dict[str, int]], int]) -> Choice:
    """Choice within the bytes of the exported file.

    Args:
        layers: Layers to choose for.
        budget: Bytes.
        size_of: Bytes of the file with given bits, by name.

    Raises:
        BudgetTooSmallError: With the bytes that the smallest candidates need.
    """
    smallest = size_of(bits_by_name(layers, [layer.smallest for layer in layers]))
    if smallest > budget:
        raise BudgetTooSmallError(budget, smallest)
    least_codes = sum(packed_size(layer.weights, layer.smallest.bits) for layer in layers)

    def choose(measured: Sensitivities) -> list[ValueSet]:
        for_codes = budget - smallest + least_codes
        while True:  # each layer's form brings a few bytes of its own, which depend on its bits
            picked = _pick(layers, measured, for_codes, packed_size)
            excess = size_of(bits_by_name(layers, picked)) - budget
            if excess <= 0 or for_codes == least_codes:
                return picked
            for_codes = max(least_codes, for_codes - excess)

    return choose
