"""`SearchableWeight`: the module that stands in for a weight while its values are searched."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb import functional
from nncf_slb.values import ValueSet

SEARCHABLE_LAYERS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear
)  # fmt: skip


class WeightKind(Enum):
    """Which weight a forward pass uses."""

    AUTOMATIC = "automatic"
    EXPECTED = "expected"
    CHOSEN = "chosen"


def transposed_groups(layer: nn.Module) -> int | None:
    """Groups of a transposed convolution (whose weight is ``[in, out / groups, ...]``), None for any other layer."""
    return int(layer.groups) if isinstance(layer, nn.modules.conv._ConvTransposeNd) else None


def channel_rows(weight: Tensor, groups: int | None) -> Tensor:
    """View a weight as ``[output channels, weights per channel]``; `groups` as from `transposed_groups`."""
    if groups is None:
        return weight.flatten(1)
    per_group = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return per_group.transpose(1, 2).flatten(0, 1).flatten(1)


def channel_broadcast(scale: Tensor, weight_shape: torch.Size, groups: int | None) -> Tensor:
    """Shape a scale per output channel ``[channels]`` so that it multiplies a weight of `weight_shape`."""
    kernel = [1] * (len(weight_shape) - 2)
    if groups is None:
        return scale.reshape(-1, 1, *kernel)
    shaped = scale.reshape(groups, -1, *kernel)
    return shaped if groups == 1 else shaped.repeat_interleave(weight_shape[0] // groups, dim=0)


class SearchableWeight(nn.Module):
    """Distribution over discrete values for each weight of one layer.

    Parameters: ``logits`` ``[len(values), *weight.shape]`` and, with a scale per channel, ``scale``
    ``[output channels]``, both float. In training mode and before the end of the schedule `forward` gives the
    expected weight; in eval mode, and in training mode after the end, the chosen one.

    Args:
        weight: Trained float weight of the layer.
        values: Discrete values.
        groups: As from `transposed_groups`.
        per_channel: Learn a scale per output channel; otherwise the values are used as they are, as in the paper.
        sharpness: Sharpness of the logits made from `weight`; None draws them at random as in the paper.
    """

    value_table: Tensor

    def __init__(
        self, weight: Tensor, values: ValueSet, groups: int | None, per_channel: bool, sharpness: float | None = 2.0
    ) -> None:
        super().__init__()
        self.values = values
        self.groups = groups
        self.inverse_temperature = 1.0
        self.search_ended = False
        self.kind = WeightKind.AUTOMATIC
        self.copies_share_logits = False
        self.weight_shape = weight.shape
        # The table is a constant of the configuration, so it stays out of checkpoints.
        table = torch.tensor(values.table, dtype=weight.dtype, device=weight.device)
        self.register_buffer("value_table", table, persistent=False)
        rows = channel_rows(weight.detach(), groups)
        numbers = table * values.step
        scale = functional.fit_scale(rows, numbers)
        if sharpness is None:
            logits = functional.random_logits(weight.shape, len(values), rows.shape[1]).to(weight)
        else:
            scaled = weight.detach() / channel_broadcast(scale, weight.shape, groups)
            logits = functional.logits_from_weight(scaled, numbers, sharpness)
        self.logits = nn.Parameter(logits)
        self.scale = nn.Parameter(scale) if per_channel else None

    def forward(self, weight: Tensor | None = None) -> Tensor:
        """The weight to use (``weight.shape``); the argument, the layer's own float weight, is not used."""
        if self._uses_expected():
            unscaled = functional.expected_value(self.logits, self.value_table, self.inverse_temperature)
        else:
            unscaled = self.value_table[functional.chosen_codes(self.logits).long()]
        return unscaled * self.multiplier()

    def _uses_expected(self) -> bool:
        if self.kind is WeightKind.AUTOMATIC:
            return self.training and not self.search_ended
        return self.kind is WeightKind.EXPECTED

    def multiplier(self) -> Tensor:
        """Factor from table entries to weights: scale times the values' step, broadcastable to ``weight.shape``."""
        if self.scale is None:
            return self.value_table.new_full([1] * len(self.weight_shape), self.values.step)
        return channel_broadcast(self.scale, self.weight_shape, self.groups) * self.values.step

    @torch.no_grad()
    def codes(self) -> Tensor:
        """Chosen codes, uint8, ``weight.shape``."""
        return functional.chosen_codes(self.logits)

    def __deepcopy__(self, memo: dict[int, Any]) -> SearchableWeight:
        if self.copies_share_logits:
            memo[id(self.logits)] = self.logits
        duplicate = self.__class__.__new__(self.__class__)
        memo[id(self)] = duplicate
        duplicate.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return duplicate

    def set_temperature(self, inverse_temperature: float, search_ended: bool) -> None:
        """Set ``1 / tau`` and whether training goes on with the chosen weights; logits then get no gradient."""
        self.inverse_temperature = inverse_temperature
        self.search_ended = search_ended


@contextmanager
def kind_of_weights(modules: Iterable[SearchableWeight], kind: WeightKind) -> Iterator[None]:
    """Within it, the modules give this kind of weight, whatever mode they are in."""
    before = [(module, module.kind) for module in modules]
    for module, _ in before:
        module.kind = kind
    try:
        yield
    finally:
        for module, old in before:
            module.kind = old


@contextmanager
def shared_logits(model: nn.Module) -> Iterator[None]:
    """Within it, deep copies share the logits, by far the largest tensors, with their originals: for copies that only
    serve to read the chosen codes."""
    modules = [module for module in model.modules() if isinstance(module, SearchableWeight)]
    for module in modules:
        module.copies_share_logits = True
    try:
        yield
    finally:
        for module in modules:
            module.copies_share_logits = False
