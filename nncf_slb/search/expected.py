"""Expected weights of many layers at once, with the gradient that mirror descent gives their latents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nncf_slb.search.channels import channel_broadcast, channel_rows
from nncf_slb.search.latent import expected_entry, nearest_entry

# Numbers that go through the arithmetic at a time, so that what lies between two steps stays in the processor's cache.
_BLOCK = 131_072

Tensors = list[Tensor]


@dataclass(frozen=True)
class Form:
    """What weights that are computed together share, and their layers' groups.

    Attributes:
        table: Ascending table of values.
        step: Factor of the table.
        sharpness: ``c / tau``; infinite for the nearest entries.
        groups: For each weight, as from `nncf_slb.search.channels.transposed_groups`.
    """

    table: tuple[float, ...]
    step: float
    sharpness: float
    groups: tuple[int | None, ...]


@torch.no_grad()
def expected_weights(
    form: Form, latents: Sequence[Tensor], units: Sequence[Tensor], scales: Sequence[Tensor]
) -> Tensors:
    """Expected entry times step and scale of each weight, without gradients.

    Args:
        form: What the weights share.
        latents: Float tensors, each of its weight's shape.
        units: Weights that an entry of 1 stands for, broadcastable to the latents.
        scales: Scale of each output channel ``[channels]``, or ``[1]`` for one of all.

    Returns:
        Tensors of the latents' shapes, in their order in memory.
    """
    of_each = zip(latents, scales, form.groups, strict=True)
    factors = [_factor(scale, latent, form.step, groups) for latent, scale, groups in of_each]
    results: list[Tensor | None] = [None] * len(latents)
    for block in _blocks(latents):
        pieces = [latents[index][rows] for index, rows in block]
        together = latents[0].new_empty(sum(piece.numel() for piece in pieces))
        positions = _views(together, pieces)
        torch._foreach_copy_(positions, pieces)
        torch._foreach_div_(positions, [_rows_of(units[index], rows) for index, rows in block])
        if math.isinf(form.sharpness):
            expected = nearest_entry(together, form.table)
        else:
            expected = expected_entry(together, form.table, form.sharpness)
        parts = torch._foreach_mul(_views(expected, pieces), [_rows_of(factors[index], rows) for index, rows in block])
        for (index, rows), part in zip(block, parts, strict=True):
            if len(part) == len(latents[index]):
                results[index] = part
                continue
            whole = results[index]
            if whole is None:
                whole = results[index] = torch.empty_like(latents[index])
            whole[rows] = part
    return results  # type: ignore[return-value]


def straight_through(
    weight: Tensor, latent: Tensor, unit: Tensor, scale: Tensor, step: float, groups: int | None
) -> Any:
    """`weight` as from `expected_weights`, with the gradients of ``latent / unit * step * scale``.

    That of the scale is exact.
    """
    return _StraightThrough.apply(weight, latent, unit, scale, step, groups)  # type: ignore[no-untyped-call]


class _StraightThrough(torch.autograd.Function):
    """One node for each layer, so that its gradient is there, and its memory free, as soon as it is computed.

    Saves the weight alone, which the layer's own backward pass keeps as well.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, latent: Tensor, unit: Tensor, scale: Tensor, step: float, groups: int | None
    ) -> Tensor:
        result = weight.view_as(weight)
        ctx.step, ctx.groups = step, groups
        ctx.save_for_backward(result, unit, scale)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, unit, scale = ctx.saved_tensors
        of_latent = of_scale = None
        if ctx.needs_input_grad[1]:
            of_latent = grad * (_factor(scale, weight, ctx.step, ctx.groups) / unit)
        if ctx.needs_input_grad[3]:
            # The weights of a channel whose scale is 0 are 0 as well, and so is its sum.
            of_scale = _sum_of_channels(grad * weight, ctx.groups).div_(scale + torch.finfo(scale.dtype).tiny)
        return None, of_latent, None, of_scale, None, None


def _factor(scale: Tensor, weight: Tensor, step: float, groups: int | None) -> Tensor:
    """From table entries to weights, broadcastable to these."""
    scaled = scale * step
    return channel_broadcast(scaled, weight.shape, groups) if len(scale) > 1 else scaled.view([1] * weight.dim())


def _sum_of_channels(product: Tensor, groups: int | None) -> Tensor:
    if groups is None:
        return product.sum(tuple(range(1, product.dim())))
    return channel_rows(product, groups).sum(1)


def _views(together: Tensor, pieces: Tensors) -> Tensors:
    """Parts of a flat tensor with the shapes of some tensors, and their order in memory where that has no gaps."""
    views, start = [], 0
    for piece in pieces:
        part = together[start : start + piece.numel()]
        dense = piece.is_contiguous() or (piece.dim() == 4 and piece.is_contiguous(memory_format=torch.channels_last))
        views.append(
            part.as_strided(piece.shape, piece.stride(), part.storage_offset()) if dense else part.view(piece.shape)
        )
        start += piece.numel()
    return views


def _blocks(latents: Sequence[Tensor]) -> Iterator[list[tuple[int, slice]]]:
    """Rows of weights, by index and slice along the first dimension, that come to about `_BLOCK` numbers together."""
    block: list[tuple[int, slice]] = []
    size = 0
    for index, latent in enumerate(latents):
        count = len(latent)
        rows = max(1, _BLOCK * count // max(1, latent.numel()))
        for start in range(0, count, rows):
            part = slice(start, min(start + rows, count))
            numbers = latent.numel() * (part.stop - part.start) // count
            if block and size + numbers > _BLOCK:
                yield block
                block, size = [], 0
            block.append((index, part))
            size += numbers
    if block:
        yield block


def _rows_of(broadcast: Tensor, rows: slice) -> Tensor:
    return broadcast if len(broadcast) == 1 else broadcast[rows]
