"""`SearchableWeight`: the module that stands in for a weight while its values are searched."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.search import distribution
from nncf_slb.search.channels import channel_broadcast, channel_rows
from nncf_slb.search.choices import DescentName, ScaleName
from nncf_slb.search.descent import GradientDescent, MirrorDescent
from nncf_slb.search.phases import Phase
from nncf_slb.search.scale import fit_scale
from nncf_slb.search.values import ValueSet


class WeightKind(Enum):
    """Which weight a forward pass uses."""

    AUTOMATIC = "automatic"
    EXPECTED = "expected"
    CHOSEN = "chosen"


class SearchState:
    """What all searched weights of one network share: how far the search is, and which weight they give.

    Attributes:
        phase: Temperature, and whether training uses the chosen weights.
        kind: Which weight a forward pass uses: by mode and phase (`AUTOMATIC`), or always the same.
        copies_share_logits: Whether deep copies of the weights share their largest tensors with the originals.
    """

    def __init__(self) -> None:
        self.phase = Phase()
        self.kind = WeightKind.AUTOMATIC
        self.copies_share_logits = False

    @contextmanager
    def using(self, kind: WeightKind) -> Iterator[None]:
        """Within it, all searched weights are of this kind, whatever mode they are in."""
        before, self.kind = self.kind, kind
        try:
            yield
        finally:
            self.kind = before

    @contextmanager
    def sharing_copies(self) -> Iterator[None]:
        """Within it, deep copies share logits and latents with their originals: for copies that only read codes."""
        before, self.copies_share_logits = self.copies_share_logits, True
        try:
            yield
        finally:
            self.copies_share_logits = before


class SearchableWeight(nn.Module):
    """Distribution over discrete values for each weight of one layer.

    In training mode and before the end of the schedule `forward` gives the expected weight; in eval mode, and in
    training mode after the end, the chosen one.

    Module ``descent`` holds the distributions (see `nncf_slb.search.descent`). ``scale`` ``[output channels]``, float,
    is a parameter, a buffer where it is fixed, or None.

    Args:
        weight: Trained float weight of the layer.
        values: Discrete values.
        groups: As from `transposed_groups`.
        scale: ``per_channel`` learns a scale per output channel, ``per_channel_fixed`` keeps its first one, ``none``
            uses the values as they are, as in the paper.
        sharpness: Sharpness of the distributions around `weight`.
        random: Whether the first logits are drawn at random: with ``gradient`` descent each of them, as in the paper;
            with ``mirror`` descent they are made as from `weight`, but from random weights as large. It adds a line
            over the values to them, so behind logits that are nearly equal only the outermost values would win.
        descent: How training moves the distributions.
        search: State of the search; by default one of its own.
    """

    value_table: Tensor
    descent: GradientDescent | MirrorDescent
    scale: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        values: ValueSet,
        groups: int | None,
        scale: ScaleName,
        sharpness: float = 2.0,
        random: bool = False,
        descent: DescentName = "mirror",
        search: SearchState | None = None,
    ) -> None:
        super().__init__()
        self.values = values
        self.groups = groups
        self.search = search or SearchState()
        self.weight_shape = weight.shape
        # The table is a constant of the configuration, so it stays out of checkpoints.
        table = torch.tensor(values.table, dtype=weight.dtype, device=weight.device)
        self.register_buffer("value_table", table, persistent=False)
        rows = channel_rows(weight.detach(), groups)
        numbers = table * values.step
        fitted = fit_scale(rows, numbers)
        unit = channel_broadcast(fitted, weight.shape, groups)
        if descent == "gradient" and random:
            logits = distribution.random_logits(weight.shape, len(values), rows.shape[1]).to(weight)
            self.descent = GradientDescent(logits)
        else:
            begin = weight.detach() / unit
            begin = distribution.random_weight(begin) if random else begin
            if descent == "gradient":
                self.descent = GradientDescent(distribution.logits_from_weight(begin, numbers, sharpness))
            else:
                self.descent = MirrorDescent(begin * unit, unit * values.step, table, sharpness)
        if scale == "per_channel_fixed":
            self.register_buffer("scale", fitted)
        else:
            self.scale = nn.Parameter(fitted) if scale == "per_channel" else None

    def forward(self, weight: Tensor | None = None) -> Tensor:
        """The weight to use (``weight.shape``); the argument, the layer's own float weight, is not used."""
        kind, phase = self.search.kind, self.search.phase
        searching = kind is WeightKind.AUTOMATIC and self.training and not phase.discrete
        if searching or kind is WeightKind.EXPECTED:
            return self.descent.expected(self.value_table, phase.inverse_temperature) * self.multiplier()
        return self.value_table[self.codes().long()] * self.multiplier()

    @property
    def searched(self) -> nn.Parameter:
        """The parameter that the search trains."""
        return self.descent.searched

    def multiplier(self) -> Tensor:
        """Factor from table entries to weights: scale times the values' step, broadcastable to ``weight.shape``."""
        if self.scale is None:
            return self.value_table.new_full([1] * len(self.weight_shape), self.values.step)
        return channel_broadcast(self.scale, self.weight_shape, self.groups) * self.values.step

    @torch.no_grad()
    def codes(self) -> Tensor:
        """Codes of the most probable values, uint8, ``weight.shape``."""
        return self.descent.codes(self.value_table)

    def confidence(self) -> Tensor:
        """Largest probability of each weight, float, ``weight.shape``."""
        return self.descent.confidence(self.value_table, self.search.phase.inverse_temperature)

    def __deepcopy__(self, memo: dict[int, Any]) -> SearchableWeight:
        if self.search.copies_share_logits:
            memo[id(self.searched)] = self.searched
        duplicate = self.__class__.__new__(self.__class__)
        memo[id(self)] = duplicate
        duplicate.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return duplicate


def searchable_weights(model: nn.Module) -> list[SearchableWeight]:
    """Searched weights of a network, each once, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, SearchableWeight)]
