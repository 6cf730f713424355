"""Search arithmetic on plain tensors: probabilities, expected weight, chosen codes, initial scale and logits.

Paper, section 3.1: ``p = softmax(A / tau)`` over the values (equation 4), training weight ``sum_k p_k v_k``
(equation 5), deployed weight the value with the largest probability. Code calls ``1 / tau`` `inverse_temperature`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def probabilities(logits: Tensor, inverse_temperature: float) -> Tensor:
    """Softmax over dimension 0.

    Args:
        logits: Float tensor ``[len(values), *weight.shape]``.
        inverse_temperature: ``1 / tau``, above 0.

    Returns:
        Probabilities of the same shape and dtype; they sum to 1 over dimension 0.
    """
    return torch.softmax(logits * inverse_temperature, dim=0)


class _ExpectedValue(torch.autograd.Function):
    """Expected value with its closed-form gradient ``dA_k = (1 / tau) p_k (v_k - E[v]) dE``.

    Saves the probabilities and the result only; autograd's own graph would keep two more tensors of logits' size.
    Straight through, the result is the most probable value, and the gradient stays that of the expected one.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor, inverse_temperature: float, straight_through: bool) -> Tensor:
        p = probabilities(logits, inverse_temperature)
        expected = torch.matmul(values, p.flatten(1)).view(logits.shape[1:])
        ctx.save_for_backward(p, values, expected)
        ctx.inverse_temperature = inverse_temperature
        return values[logits.max(dim=0).indices] if straight_through else expected

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        p, values, expected = ctx.saved_tensors
        column = values.view(-1, *[1] * expected.dim())
        return (column - expected).mul_(p).mul_(grad * ctx.inverse_temperature), None, None, None


def expected_value(logits: Tensor, values: Tensor, inverse_temperature: float) -> Tensor:
    """Expected value of each weight's distribution (paper, equation 5).

    Args:
        logits: Float tensor ``[len(values), *weight.shape]``; gets a gradient.
        values: Float tensor ``[len(values)]``; constant.
        inverse_temperature: ``1 / tau``, above 0.

    Returns:
        Tensor of ``weight.shape`` within ``[min(values), max(values)]``.
    """
    return _ExpectedValue.apply(logits, values, inverse_temperature, False)  # type: ignore[no-any-return, no-untyped-call]


def chosen_value(logits: Tensor, values: Tensor, inverse_temperature: float) -> Tensor:
    """Most probable value of each weight; its gradient is that of `expected_value`, which see (straight through)."""
    return _ExpectedValue.apply(logits, values, inverse_temperature, True)  # type: ignore[no-any-return, no-untyped-call]


def gumbel_noise(like: Tensor) -> Tensor:
    """Sample of the standard Gumbel distribution with the shape, dtype and device of `like`.

    Added to ``logits / tau``, it makes the largest entry a draw from the distribution (Jang et al., 2017, equation 1).
    """
    return -torch.empty_like(like).exponential_().log()


def chosen_codes(logits: Tensor) -> Tensor:
    """Index of the most probable value of each weight, uint8, shape ``logits.shape[1:]``; the first one on a tie."""
    return logits.max(dim=0).indices.to(torch.uint8)  # PyTorch 2.13: argmax(dim=0) takes 2 to 13 times as long


def nearest_codes(weight: Tensor, values: Tensor) -> Tensor:
    """Index of the value nearest to each element (int64, ``weight.shape``); `values` ascending ``[len(values)]``."""
    midpoints = (values[1:] + values[:-1]) / 2
    return torch.bucketize(weight.contiguous(), midpoints)


def nearest_values(weight: Tensor, values: Tensor) -> Tensor:
    """The value nearest to each element (``weight.shape``); `values` ascending ``[len(values)]``.

    Evenly spaced values are computed, which takes a fifth of the time of looking them up.
    """
    steps = values.diff()
    first, step = values[0], steps.mean()
    if not torch.allclose(steps, step, rtol=1e-5, atol=0.0):
        return values[nearest_codes(weight, values)]
    codes = weight.sub(first).div_(step).sub_(0.5).ceil_().clamp_(0, len(values) - 1)  # halves go down, as in a search
    return codes.mul_(step).add_(first)


def fit_scale(rows: Tensor, values: Tensor, candidates: int = 48, refinements: int = 5) -> Tensor:
    """Scale of each channel that minimises the squared error of its discrete weights.

    A grid over ``max|w| / max|v|`` finds the basin; alternating least squares (codes, then scale) settles in it.
    For the values -1 and +1 the result is the exact optimum, the mean of ``|w|``.

    Args:
        rows: Float tensor ``[channels, weights per channel]``.
        values: Ascending values ``[len(values)]``.
        candidates: Points of the grid.
        refinements: Rounds of alternating least squares.

    Returns:
        Positive tensor ``[channels]``; 1e-8 for a channel of zeros only.
    """
    tiny = 1e-8
    largest = (rows.abs().amax(dim=1) / values.abs().max()).clamp_min(tiny)
    sample = rows[:, :: max(1, rows.shape[1] // 512)].contiguous()  # enough to find the basin
    best_scale, best_error = largest, torch.full_like(largest, torch.inf)
    for fraction in torch.linspace(1.2 / candidates, 1.2, candidates).tolist():
        scale = largest * fraction
        error, _ = _error_and_next_scale(sample, values, scale)
        better = error < best_error
        best_scale, best_error = torch.where(better, scale, best_scale), torch.where(better, error, best_error)
    best_error, next_scale = _error_and_next_scale(rows, values, best_scale)
    for _ in range(refinements):
        scale = torch.where(next_scale > tiny, next_scale, best_scale)
        error, next_scale = _error_and_next_scale(rows, values, scale)
        better = error < best_error
        if not bool(better.any()):
            break
        best_scale, best_error = torch.where(better, scale, best_scale), torch.where(better, error, best_error)
    return best_scale.clamp_min(tiny)


def _error_and_next_scale(rows: Tensor, values: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error ``[channels]`` of rows with the codes that are nearest at a scale, and the best scale for these."""
    picked = nearest_values(rows / scale[:, None], values)
    fitted = torch.linalg.vecdot(picked, rows) / torch.linalg.vecdot(picked, picked).clamp_min(1e-8)
    rest = picked.mul_(scale[:, None]).sub_(rows)
    return torch.linalg.vecdot(rest, rest), fitted


def logits_from_weight(weight: Tensor, values: Tensor, sharpness: float) -> Tensor:
    """Logits whose distribution is centred on a trained weight (departs from the paper, which starts at random).

    ``A_k = -sharpness * ((weight - v_k) / spacing)**2`` with the mean spacing of the values. At ``1 / tau = 1`` and
    sharpness 2 the distribution's standard deviation is half a spacing, and its mean is close to the weight itself.

    Args:
        weight: Weight divided by its scale, any shape.
        values: Ascending values ``[len(values)]``.
        sharpness: Above 0; larger means more confident.

    Returns:
        Logits ``[len(values), *weight.shape]``; their argmax is the value nearest to the weight.
    """
    spacing = (values[-1] - values[0]) / (len(values) - 1)
    column = values.view(-1, *[1] * weight.dim())
    distance = (weight.clamp(float(values[0]), float(values[-1])) - column) / spacing
    return -sharpness * distance.square()


def slopes_of_logits(values: Tensor, sharpness: float) -> Tensor:
    """How fast `logits_from_weight` changes with the weight, ``2 sharpness v_k / spacing**2``, ``[len(values)]``.

    Without what is the same for all values of a weight, since a softmax does not see that. In this direction mirror
    descent on the probabilities moves the logits: ``A_k -= rate * dL/dp_k`` with ``dL/dp_k = v_k dL/dE[v]`` (Ajanthan
    et al., "Mirror Descent View for Neural Network Quantization", 2021, with the softmax as mirror map).

    Args:
        values: Ascending values ``[len(values)]``.
        sharpness: As for `logits_from_weight`.
    """
    spacing = (values[-1] - values[0]) / (len(values) - 1)
    return 2 * sharpness * values / spacing.square()


def straight_through(result: Tensor, source: Tensor) -> Tensor:
    """`result` forward, with the gradient of `source` (same shape) backward."""
    return result.detach() + (source - source.detach())  # in this order the sum is exact


def random_logits(shape: torch.Size, count: int, fan_in: int) -> Tensor:
    """He-normal logits ``[count, *shape]`` as in the authors' code: standard deviation ``sqrt(2 / fan_in)``."""
    return torch.randn(count, *shape) * math.sqrt(2.0 / max(fan_in, 1))


def random_weight(like: Tensor) -> Tensor:
    """Normal weights with the shape, dtype, device and mean square of `like`."""
    return torch.randn(like.shape).to(like) * like.square().mean().sqrt()
