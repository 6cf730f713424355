"""How training moves the distributions of one layer's weights: two descents behind one interface."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nncf_slb.search import distribution


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

    def current_logits(self) -> Tensor:
        """Logits as they are now, ``[len(values), *weight.shape]``."""
        return self.logits

    def expected(self, table: Tensor, inverse_temperature: float) -> Tensor:
        """Expected table entry of each weight, ``weight.shape``, with the gradient that the logits take."""
        return distribution.expected_value(self.logits, table, inverse_temperature)


class MirrorDescent(nn.Module):
    """Mirror descent on the probabilities: each weight's distribution moves along its values, by one number.

    Parameter ``shift`` (``weight.shape``), how far a distribution has moved, in the unit of the weight. Buffers
    ``logits`` ``[len(values), *weight.shape]``, where it began, and ``unit`` (broadcastable to the weight), the weight
    at which a value of 1 stands. All float.

    Source: Ajanthan et al., "Mirror Descent View for Neural Network Quantization", 2021, with the softmax as mirror
    map; a departure from the paper.

    Args:
        logits: First logits.
        unit: First scale of each channel.
        slopes: How fast logits change with the shift, from `distribution.slopes_of_logits`.
        step: Factor from table entries to values.
    """

    logits: Tensor
    unit: Tensor
    slopes: Tensor

    def __init__(self, logits: Tensor, unit: Tensor, slopes: Tensor, step: float) -> None:
        super().__init__()
        self.step = step
        self.register_buffer("logits", logits)
        self.register_buffer("unit", unit)
        self.register_buffer("slopes", slopes, persistent=False)
        self.shift = nn.Parameter(torch.zeros_like(logits[0]))

    @property
    def searched(self) -> nn.Parameter:
        """The parameter that training moves."""
        return self.shift

    def current_logits(self) -> Tensor:
        """Logits as they are now, ``[len(values), *weight.shape]``."""
        slopes = self.slopes.view(-1, *[1] * self.shift.dim())
        return torch.addcmul(self.logits, slopes, self.shift / self.unit)

    def expected(self, table: Tensor, inverse_temperature: float) -> Tensor:
        """Expected table entry of each weight, ``weight.shape``; its gradient moves the shift by as much."""
        with torch.no_grad():
            expected = distribution.expected_value(self.current_logits(), table, inverse_temperature)
        return distribution.with_gradient_of(expected, self.shift / self.unit / self.step)
