"""How training moves the distributions of one layer's weights: two descents behind one interface."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nncf_slb.search import distribution
from nncf_slb.search.latent import expected_entry, largest_probability
from nncf_slb.search.scale import nearest_codes


class GradientDescent(nn.Module):
    """Every logit follows its own gradient (paper, section 3.1).

    Parameter ``logits`` ``[len(values), *weight.shape]``, float.

    Args:
        logits: First logits.
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    @property
    def searched(self) -> nn.Parameter:
        """The parameter that training moves."""
        return self.logits

    def expected(self, table: Tensor, inverse_temperature: float) -> Tensor:
        """Expected table entry of each weight, ``weight.shape``, with the gradient that the logits take."""
        return distribution.expected_value(self.logits, table, inverse_temperature)

    def codes(self, table: Tensor) -> Tensor:
        """Codes of the most probable entries, uint8, ``weight.shape``."""
        return distribution.chosen_codes(self.logits)

    def confidence(self, table: Tensor, inverse_temperature: float) -> Tensor:
        """Largest probability of each weight, float, ``weight.shape``."""
        return distribution.probabilities(self.logits, inverse_temperature).amax(dim=0)


class MirrorDescent(nn.Module):
    """Mirror descent on the probabilities: each weight's distribution moves along its values, by one number.

    Parameter ``latent`` (``weight.shape``), the weight that the distribution is centred on, in the unit of the weight,
    so that learning rates of float weights suit it. Buffer ``unit`` (broadcastable to the weight): the weight that a
    table entry of 1 stands for at the first scale. Both float.

    Source: Ajanthan et al., "Mirror Descent View for Neural Network Quantization", 2021, with the softmax as mirror
    map; a departure from the paper.

    Args:
        weight: First weight, clipped to the values.
        unit: First scale of each channel, times the step of the values.
        table: Ascending table of values ``[len(values)]``.
        sharpness: How strongly distributions prefer near values at ``1 / tau = 1``.
    """

    unit: Tensor

    def __init__(self, weight: Tensor, unit: Tensor, table: Tensor, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.register_buffer("unit", unit)
        lowest, highest = float(table[0]), float(table[-1])
        self.latent = nn.Parameter((weight / unit).clamp_(lowest, highest).mul_(unit))

    @property
    def searched(self) -> nn.Parameter:
        """The parameter that training moves."""
        return self.latent

    def expected(self, table: Tensor, inverse_temperature: float) -> Tensor:
        """Expected table entry of each weight, ``weight.shape``; its gradient moves the latent by as much."""
        position = self.latent / self.unit
        with torch.no_grad():
            expected = expected_entry(position, table, self.sharpness * inverse_temperature)
        return distribution.with_gradient_of(expected, position)

    def codes(self, table: Tensor) -> Tensor:
        """Codes of the most probable entries, uint8, ``weight.shape``."""
        return nearest_codes(self.latent / self.unit, table).to(torch.uint8)

    def confidence(self, table: Tensor, inverse_temperature: float) -> Tensor:
        """Largest probability of each weight, float, ``weight.shape``."""
        return largest_probability(self.latent / self.unit, table, self.sharpness * inverse_temperature)
