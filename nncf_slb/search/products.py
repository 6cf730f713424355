"""Sums over whole tensors without a copy of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sum_of_products(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the products of the elements, a scalar of at least float32.

    Args:
        a: Float tensor of any shape and memory format.
        b: Tensor of the same shape.
    """
    dtype = torch.promote_types(a.dtype, torch.float32)
    # As the first one lies in memory: a flattened `channels_last` tensor would be a copy.
    order = sorted(range(a.dim()), key=a.stride, reverse=True)
    return torch.dot(*(x.permute(order).flatten().to(dtype) for x in (a, b)))


class _SquaredDistance(torch.autograd.Function):
    """`squared_distance`, whose gradient lies in memory as its arguments do; that of `mse_loss` does not."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        difference = a - b
        ctx.save_for_backward(difference)
        return sum_of_products(difference, difference)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference * (2 * grad).to(difference.dtype), None


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the squares of ``a - b``, a scalar of at least float32.

    Args:
        a: Float tensor of any shape and memory format.
        b: Tensor of the same shape; it gets no gradient.
    """
    return _SquaredDistance.apply(a, b)  # type: ignore[no-any-return, no-untyped-call]
