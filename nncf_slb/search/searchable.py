"""`SearchableWeight`: the module that stands in for a weight while its values are searched."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.search import distribution
from nncf_slb.search.averaging import Averaging
from nncf_slb.search.channels import channel_broadcast, channel_rows, transposed_groups
from nncf_slb.search.choices import DescentName, ScaleName
from nncf_slb.search.descent import GradientDescent, MirrorDescent, float_weight
from nncf_slb.search.fingerprint import Remembered
from nncf_slb.search.scale import fit_scale
from nncf_slb.search.state import SearchState, WeightKind
from nncf_slb.search.values import ValueSet


class SearchableWeight(nn.Module):
    """Distribution over discrete values for each weight of one layer.

    In training mode `forward` gives the expected weight; in eval mode the chosen one. After the end of the schedule it
    is a chosen one in training mode as well: with gradient descent the final one, with mirror descent that of the
    latents as they are, which go on moving (straight through, as if the weight were continuous).

    Module ``descent`` holds the distributions (see `nncf_slb.search.descent`). ``scale`` ``[output channels]``, float,
    is a parameter, a buffer where it is fixed, or None.

    Args:
        layer: Layer whose trained float ``weight`` is searched. `begin` must follow, once nothing needs the float
            weight any more.
        values: Discrete values.
        scale: ``per_channel`` learns a scale per output channel, ``per_channel_fixed`` keeps its first one, ``none``
            uses the values as they are, as in the paper.
        sharpness: Sharpness of the distributions around the weight.
        random: Whether the first logits are drawn at random: with ``gradient`` descent each of them, as in the paper;
            with ``mirror`` descent they are made as from the weight, but from random weights as large. It adds a line
            over the values to them, so behind logits that are nearly equal only the outermost values would win.
        descent: How training moves the distributions.
        averaging: How mirror descent averages its latents; None for not at all.
        search: State of the search; by default one of its own.
        name: Name of the weight in `layer`. Of a module that is no layer, output channels are its first dimension.
    """

    value_table: Tensor
    descent: GradientDescent | MirrorDescent
    scale: Tensor | None

    def __init__(
        self,
        layer: nn.Module,
        values: ValueSet,
        scale: ScaleName,
        sharpness: float = 2.0,
        random: bool = False,
        descent: DescentName = "mirror",
        averaging: Averaging | None = None,
        search: SearchState | None = None,
        name: str = "weight",
    ) -> None:
        super().__init__()
        weight: Tensor = getattr(layer, name).detach()
        self._owner = (layer, name)  # in a tuple, where torch sees no module
        self.values = values
        self.groups = transposed_groups(layer)
        self.search = search or SearchState()
        self.search.weights.append(self)
        self.weight_shape = weight.shape
        self._random = random
        self.kind = (values.table, values.step, sharpness)  # weights of one kind are computed together
        self._remembered = Remembered()
        # The table is a constant of the configuration, so it stays out of checkpoints.
        table = torch.tensor(values.table, dtype=weight.dtype, device=weight.device)
        self.register_buffer("value_table", table, persistent=False)
        fitted, unit = self._fitted(weight)
        numbers = table * values.step
        if descent == "mirror":
            self.descent = MirrorDescent(layer, unit * values.step, values.table, sharpness, averaging, name)
        elif random:
            self.descent = GradientDescent(
                distribution.random_logits(weight.shape, len(values), channel_rows(weight, self.groups).shape[1]).to(
                    weight
                )
            )
        else:
            self.descent = GradientDescent(distribution.logits_from_weight(weight / unit, numbers, sharpness))
        if scale == "per_channel_fixed":
            self.register_buffer("scale", fitted)
        else:
            self.scale = nn.Parameter(fitted) if scale == "per_channel" else None

    def begin(self) -> None:
        """Let mirror descent take the layer's weight over for its latents."""
        if isinstance(self.descent, MirrorDescent):
            self.descent.begin(self._random)

    def _fitted(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Scale of least squared error of each output channel, also broadcastable to the weight."""
        scale = fit_scale(channel_rows(weight, self.groups), self.value_table * self.values.step)
        return scale, channel_broadcast(scale, weight.shape, self.groups)

    @torch.no_grad()
    def restart(self) -> None:
        """Let the search begin anew at the weight that its layer holds now, with a scale and distributions for it."""
        weight = self._place()
        fitted, unit = self._fitted(weight)
        if self.scale is not None:
            self.scale.copy_(fitted)
        if isinstance(self.descent, MirrorDescent):
            self.descent.unit.copy_(unit * self.values.step)
            self.descent.begin(False)
        else:
            numbers = self.value_table * self.values.step
            self.descent.logits.copy_(distribution.logits_from_weight(weight / unit, numbers, self.kind[2]))

    def _place(self) -> Tensor:
        layer, name = self._owner
        return float_weight(layer, name).detach()

    def forward(self, weight: Tensor | None = None) -> Tensor:
        """The weight to use (``weight.shape``).

        Args:
            weight: What a host hands over; not used, since the search knows its layer.
        """
        return self.search.weight(self)

    @property
    def is_trained(self) -> bool:
        """Whether a forward pass uses the weight that training moves."""
        search = self.search
        moves = isinstance(self.descent, MirrorDescent) or not search.phase.discrete
        return search.kind is WeightKind.AUTOMATIC and self.training and moves

    def chosen(self) -> Tensor:
        """The chosen weight, ``weight.shape``, with the gradient that its scale takes."""
        sources = self.descent.sources()
        if self.scale is None:
            return self._remembered.of("weight", sources, self._chosen)
        if self.scale.requires_grad and torch.is_grad_enabled():
            return self._remembered.of("entries", sources, self._chosen_entries) * self.multiplier()
        return self._remembered.of("weight", (*sources, self.scale), self._chosen)

    def _chosen(self) -> Tensor:
        return self._chosen_entries().mul_(self.multiplier())

    def _chosen_entries(self) -> Tensor:
        return self.descent.chosen_entries(self.value_table)

    def forget(self) -> None:
        """Give the memory of the chosen weight back, where it was kept for further passes."""
        self._remembered.forget()

    @property
    def searched(self) -> nn.Parameter:
        """The parameter that the search trains."""
        descent = self.descent
        return descent.logits if isinstance(descent, GradientDescent) else descent.latent  # type: ignore[return-value]

    def scale_or_one(self) -> Tensor:
        """Scale of each output channel ``[channels]``, or ``[1]`` where there is none."""
        return self.value_table.new_ones(1) if self.scale is None else self.scale

    def multiplier(self) -> Tensor:
        """Factor from table entries to weights: scale times the values' step, broadcastable to ``weight.shape``."""
        if self.scale is None:
            return self.value_table.new_full([1] * len(self.weight_shape), self.values.step)
        return channel_broadcast(self.scale, self.weight_shape, self.groups) * self.values.step

    @torch.no_grad()
    def codes(self) -> Tensor:
        """Codes of the most probable values, uint8, ``weight.shape``."""
        return self.descent.codes()

    def confidence(self) -> Tensor:
        """Largest probability of each weight, float, ``weight.shape``."""
        return self.descent.confidence(self.value_table, self.search.phase.inverse_temperature)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        errors = args[-1]
        older = [key for key in state_dict if key.startswith(prefix) and key.endswith("latent")]
        if older:
            errors.append(
                f"{older[0]}: received a checkpoint of a search whose latents stood beside the layers' weights; "
                "allowed are checkpoints whose latents are the layers' weights. Train again, or use the version of "
                "nncf_slb that wrote it"
            )
            return
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __deepcopy__(self, memo: dict[int, Any]) -> SearchableWeight:
        if self.search.copies_share_logits:
            for large in (self.descent.decisive, *self.descent.parameters()):
                memo[id(large)] = large
        duplicate = self.__class__.__new__(self.__class__)
        memo[id(self)] = duplicate
        duplicate.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return duplicate


def searchable_weights(model: nn.Module) -> list[SearchableWeight]:
    """Searched weights of a network, each once, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, SearchableWeight)]
