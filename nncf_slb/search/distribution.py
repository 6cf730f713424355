"""Arithmetic of distributions on plain tensors: probabilities, expected value, chosen codes, first logits.

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
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor, inverse_temperature: float) -> Tensor:
        p = probabilities(logits, inverse_temperature)
        expected = torch.matmul(values, p.flatten(1)).view(logits.shape[1:])
        ctx.save_for_backward(p, values, expected)
        ctx.inverse_temperature = inverse_temperature
        return expected

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        p, values, expected = ctx.saved_tensors
        column = values.view(-1, *[1] * expected.dim())
        return (column - expected).mul_(p).mul_(grad * ctx.inverse_temperature), None, None


def expected_value(logits: Tensor, values: Tensor, inverse_temperature: float) -> Tensor:
    """Expected value of each weight's distribution (paper, equation 5).

    Args:
        logits: Float tensor ``[len(values), *weight.shape]``; gets a gradient.
        values: Float tensor ``[len(values)]``; constant.
        inverse_temperature: ``1 / tau``, above 0.

    Returns:
        Tensor of ``weight.shape`` within ``[min(values), max(values)]``.
    """
    return _ExpectedValue.apply(logits, values, inverse_temperature)  # type: ignore[no-any-return, no-untyped-call]


def chosen_codes(logits: Tensor) -> Tensor:
    """Index of the most probable value of each weight, uint8, shape ``logits.shape[1:]``; the first one on a tie."""
    return logits.max(dim=0).indices.to(torch.uint8)  # PyTorch 2.13: argmax(dim=0) takes 2 to 13 times as long


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


def random_logits(shape: torch.Size, count: int, fan_in: int) -> Tensor:
    """He-normal logits ``[count, *shape]`` as in the authors' code: standard deviation ``sqrt(2 / fan_in)``."""
    return torch.randn(count, *shape) * math.sqrt(2.0 / max(fan_in, 1))


def random_weight(like: Tensor) -> Tensor:
    """Normal weights with the shape, dtype, device and mean square of `like`."""
    return torch.randn(like.shape).to(like) * like.square().mean().sqrt()
