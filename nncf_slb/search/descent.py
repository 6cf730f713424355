"""How training moves the distributions of one layer's weights: two descents, and what each of them keeps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nncf_slb.search import distribution
from nncf_slb.search.averaging import Averaging
from nncf_slb.search.fingerprint import Changes
from nncf_slb.search.latent import largest_probability, nearest_codes, nearest_entry

_LEAD = 1e4  # of the chosen logit once a search has ended; optimizers move logits by at most their rate a step


class GradientDescent(nn.Module):
    """Every logit follows its own gradient (paper, section 3.1).

    Parameter ``logits`` ``[len(values), *weight.shape]``, float. The layer's own float weight is not used any more.

    Args:
        logits: First logits.
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    @property
    def decisive(self) -> Tensor:
        """What the codes are made of."""
        return self.logits

    def expected(self, table: Tensor, inverse_temperature: float) -> Tensor:
        """Expected table entry of each weight, ``weight.shape``, with the gradient that the logits take."""
        return distribution.expected_value(self.logits, table, inverse_temperature)

    def codes(self) -> Tensor:
        """Codes of the most probable entries, uint8, ``weight.shape``."""
        return distribution.chosen_codes(self.logits)

    def chosen_entries(self, table: Tensor) -> Tensor:
        """The most probable entries, ``weight.shape``."""
        return table[self.codes().int()]

    def sources(self) -> tuple[Tensor, ...]:
        """Tensors that the codes follow from."""
        return (self.logits,)

    @torch.no_grad()
    def finish(self) -> None:
        """Make the codes final: each leads by more than momentum, weight decay or an average can take away."""
        codes = self.codes().long().unsqueeze(0)
        self.logits.zero_().scatter_(0, codes, _LEAD)

    def nothing(self) -> Tensor:
        """Zero, with a gradient of zeros for the logits, since several processes expect gradients of all parameters."""
        return self.logits.flatten()[0] * 0

    def confidence(self, table: Tensor, inverse_temperature: float) -> Tensor:
        """Largest probability of each weight, float, ``weight.shape``."""
        return distribution.probabilities(self.logits, inverse_temperature).amax(dim=0)


class MirrorDescent(nn.Module):
    """Mirror descent on the probabilities: each weight's distribution moves along its values, by one number.

    That number, the latent, is the layer's own float weight: the point that the distribution is centred on, in the unit
    of the weight, so that learning rates of float weights suit it. Buffers: ``unit`` (broadcastable to the weight), the
    weight that a table entry of 1 stands for at the first scale; ``mean`` (``weight.shape``; None without averaging),
    the mean of the latents over the last part of the training, from which codes are made.

    Source: Ajanthan et al., "Mirror Descent View for Neural Network Quantization", 2021, with the softmax as mirror
    map; a departure from the paper.

    Args:
        layer: Layer whose ``weight`` holds the latents.
        unit: First scale of each channel, times the step of the values.
        table: Ascending table of values.
        sharpness: How strongly distributions prefer near values at ``1 / tau = 1``.
        averaging: How latents are averaged; None for codes of the latents as they are.
        name: Name of the parameter in `layer`.
    """

    unit: Tensor
    mean: Tensor | None

    def __init__(
        self,
        layer: nn.Module,
        unit: Tensor,
        table: tuple[float, ...],
        sharpness: float,
        averaging: Averaging | None,
        name: str = "weight",
    ) -> None:
        super().__init__()
        self._owner = (layer, name)  # in a tuple, where torch sees no module
        self.table, self.sharpness, self.averaging = table, sharpness, averaging
        self.steps = 0  # that have moved the mean
        self._changes = Changes()
        self.register_buffer("unit", unit)
        self.register_buffer("mean", self._bounded(self.latent) if averaging else None)

    @property
    def latent(self) -> Tensor:
        """The layer's weight, whatever tensor that is by now."""
        return float_weight(*self._owner)

    @property
    def decisive(self) -> Tensor:
        """What the codes are made of: the mean of the latents, or the latents."""
        return self.latent if self.mean is None else self.mean

    def _bounded(self, weight: Tensor) -> Tensor:
        return (weight.detach() / self.unit).clamp_(self.table[0], self.table[-1]).mul_(self.unit)

    @torch.no_grad()
    def begin(self, random: bool) -> None:
        """Let the search begin at the layer's weight, or at a random one as large, within the values' range."""
        self.steps = 0
        first = distribution.random_weight(self.latent) if random else self.latent
        self.latent.copy_(self._bounded(first))
        if self.mean is not None:
            self.mean.copy_(self.latent)

    @torch.no_grad()
    def settle(self) -> None:
        """Let the latents be their mean, from which a new mean begins; the codes stay."""
        self.steps = 0
        if self.mean is not None:
            self.latent.copy_(self.mean)

    def moves_mean(self) -> bool:
        """Whether the mean is to take the latents in: once for each optimizer step, however many passes that has."""
        return self.averaging is not None and self._changes.since_last(self.latent)

    def codes(self) -> Tensor:
        """Codes of the most probable entries, uint8, ``weight.shape``."""
        return nearest_codes(self.decisive.detach() / self.unit, self.table)

    def chosen_entries(self, table: Tensor) -> Tensor:
        """The most probable entries, ``weight.shape``."""
        return nearest_entry(self.decisive.detach() / self.unit, self.table)

    def sources(self) -> tuple[Tensor, ...]:
        """Tensors that the codes follow from."""
        return self.decisive, self.unit

    def confidence(self, table: Tensor, inverse_temperature: float) -> Tensor:
        """Largest probability of each weight, float, ``weight.shape``."""
        position = self.decisive.detach() / self.unit
        return largest_probability(position, self.table, self.sharpness * inverse_temperature)

    def get_extra_state(self) -> Tensor:
        """For checkpoints: what a resumed mean needs beside itself."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Any) -> None:
        """From a checkpoint."""
        self.steps = int(state)


def float_weight(layer: nn.Module, name: str) -> Tensor:
    """A layer's own parameter, also where it has been parametrized."""
    weight: Tensor | None = layer._parameters.get(name)
    if weight is None and parametrize.is_parametrized(layer, name):
        weight = layer.parametrizations[name].original  # type: ignore[index, union-attr]
    return getattr(layer, name) if weight is None else weight
