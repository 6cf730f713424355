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


def expected_weights(form: Form, latents: Sequence[Tensor], units: Sequence[Tensor], scales: Sequence[Tensor]) -> Any:
    """Expected entry times step and scale of each weight.

    The latents' gradient is that of a weight ``latent / unit * step * scale``; the scales' is exact.

    Args:
        form: What the weights share.
        latents: Float tensors, each of its weight's shape.
        units: Weights that an entry of 1 stands for, broadcastable to the latents.
        scales: Scale of each output channel ``[channels]``, or ``[1]`` for one of all.

    Returns:
        Tuple of tensors of the latents' shapes.
    """
    return _ExpectedWeights.apply(form, len(latents), *latents, *units, *scales)  # type: ignore[no-untyped-call]


class _ExpectedWeights(torch.autograd.Function):
    """Saves the weights alone, which the layers' own backward passes keep as well."""

    @staticmethod
    def forward(ctx: Any, form: Form, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        latents, units, scales = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
        factors = _factors(form, latents, scales)
        weights = _forward(form, latents, units, factors)
        ctx.form, ctx.count = form, count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*weights, *units, *scales)
        return tuple(weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        form, count = ctx.form, ctx.count
        weights, units, scales = (ctx.saved_tensors[part * count : (part + 1) * count] for part in range(3))
        given = {index: grad for index, grad in enumerate(grads) if grad is not None}
        of_latents: list[Tensor | None] = [None] * count
        of_scales: list[Tensor | None] = [None] * count
        moving = [index for index in given if ctx.needs_input_grad[2 + index]]
        if moving:
            factors = _factors(form, weights, scales)
            ratios = torch._foreach_div([factors[index] for index in moving], [units[index] for index in moving])
            for index, grad in zip(moving, torch._foreach_mul([given[i] for i in moving], ratios), strict=True):
                of_latents[index] = grad
        learned = [index for index in given if ctx.needs_input_grad[2 + 2 * count + index]]
        if learned:
            products = torch._foreach_mul([given[i] for i in learned], [weights[i] for i in learned])
            sums = [_sum_of_channels(product, form.groups[i]) for i, product in zip(learned, products, strict=True)]
            # The weights of a channel whose scale is 0 are 0 as well, and so is its sum.
            not_zero = torch._foreach_add([scales[i] for i in learned], torch.finfo(sums[0].dtype).tiny)
            for index, grad in zip(learned, torch._foreach_div(sums, not_zero), strict=True):
                of_scales[index] = grad
        return (None, None, *of_latents, *[None] * count, *of_scales)


def _sum_of_channels(product: Tensor, groups: int | None) -> Tensor:
    if groups is None:
        return product.sum(tuple(range(1, product.dim())))
    return channel_rows(product, groups).sum(1)


def _factors(form: Form, weights: Sequence[Tensor], scales: Sequence[Tensor]) -> Tensors:
    """From table entries to weights, broadcastable to these."""
    return [
        channel_broadcast(scale, weight.shape, groups) if len(scale) > 1 else scale.view([1] * weight.dim())
        for weight, scale, groups in zip(weights, torch._foreach_mul(list(scales), form.step), form.groups, strict=True)
    ]


def _forward(form: Form, latents: Sequence[Tensor], units: Sequence[Tensor], factors: Tensors) -> Tensors:
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
