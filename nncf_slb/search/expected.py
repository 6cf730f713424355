"""Expected weights of many layers at once, with the gradient that mirror descent gives their latents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from nncf_slb.search.channels import channel_broadcast, channel_rows
from nncf_slb.search.latent import expected_entry, nearest_entry

# Numbers that go through the arithmetic at a time, so that what lies between two steps stays in the processor's cache.
_BLOCK = 131_072
# Weights of at most so many numbers share a node of the backward pass, so many numbers together at most.
_SMALL = 262_144
_TOGETHER = 1_048_576
_DISTANCE = 0.05  # of the two points of a difference quotient, in spacings

Tensors = list[Tensor]


@dataclass(frozen=True)
class Form:
    """What weights that are computed together share.

    Attributes:
        table: Ascending table of values.
        sharpness: ``c / tau``; infinite for the nearest entries.
    """

    table: tuple[float, ...]
    sharpness: float


@dataclass(frozen=True)
class Sources:
    """What weights are computed from, an item a weight.

    Attributes:
        latents: Float tensors of the weights' shapes.
        units: Weights that an entry of 1 stands for, broadcastable to the latents.
        scales: Scale of each output channel ``[channels]``, or ``[1]`` for one of all.
        groups: As from `nncf_slb.search.channels.transposed_groups`.
    """

    latents: Sequence[Tensor]
    units: Sequence[Tensor]
    scales: Sequence[Tensor]
    groups: Sequence[int | None]

    @torch.no_grad()
    def factors(self, step: float) -> Tensors:
        """From entries of the table to weights: scale times step, broadcastable to the latents."""
        scaled = torch._foreach_mul(list(self.scales), step)
        return [
            channel_broadcast(factor, latent.shape, groups) if len(factor) > 1 else factor.view([1] * latent.dim())
            for factor, latent, groups in zip(scaled, self.latents, self.groups, strict=True)
        ]


@torch.no_grad()
def expected_weights(form: Form, sources: Sources, factors: Tensors) -> Tensors:
    """Expected entry times factor of each weight, without gradients.

    Args:
        form: What the weights share.
        sources: What they are computed from.
        factors: As from `Sources.factors`.

    Returns:
        Tensors of the latents' shapes, in their order in memory.
    """
    latents, units = sources.latents, sources.units
    results: list[Tensor | None] = [None] * len(latents)
    for block in _blocks(latents):
        pieces = [latents[index][rows] for index, rows in block]
        together = latents[0].new_empty(sum(piece.numel() for piece in pieces), dtype=_exact(latents[0]))
        positions = _views(together, pieces)
        torch._foreach_copy_(positions, pieces)
        torch._foreach_div_(positions, [_rows_of(units[index], rows) for index, rows in block])
        if math.isinf(form.sharpness):
            expected = nearest_entry(together, form.table)
        else:
            expected = expected_entry(together, form.table, form.sharpness)
        parts = torch._foreach_mul(_views(expected, pieces), [_rows_of(factors[index], rows) for index, rows in block])
        for (index, rows), part in zip(block, parts, strict=True):
            part = part.to(latents[index].dtype)
            if len(part) == len(latents[index]):
                results[index] = part
                continue
            whole = results[index]
            if whole is None:
                whole = results[index] = torch.empty_like(latents[index])
            whole[rows] = part
    return results  # type: ignore[return-value]


def _exact(tensor: Tensor) -> torch.dtype:
    """Type to compute in: exponentials of half precision overflow."""
    return torch.promote_types(tensor.dtype, torch.float32)


def straight_through(weights: Tensors, sources: Sources, factors: Tensors) -> list[Callable[[], Tensor]]:
    """`weights` as from `expected_weights`, with the gradients of ``latent / unit * factor``; that of a scale is exact.

    Small weights have one node of the backward pass together, since a node costs more time than they take to compute.
    Large ones have a node each, made when a layer asks for it: the backward pass takes the last node first, so their
    gradients are there, and their memory free, as soon as they are computed.

    Returns:
        For each weight, what gives it.
    """

    def node(part: list[int]) -> tuple[Tensor, ...]:
        weight, unit, factor = ([of[index] for index in part] for of in (weights, sources.units, factors))
        groups = [sources.groups[index] for index in part]
        parameters = [of[index] for of in (sources.latents, sources.scales) for index in part]
        with saved_tensors_hooks(_as_it_is, _as_it_is):
            return _StraightThrough.apply(groups, weight, unit, factor, *parameters)  # type: ignore[no-any-return, no-untyped-call]

    def alone(part: list[int]) -> Tensor:
        return node(part)[0]

    results: dict[int, Callable[[], Tensor]] = {}
    for part in _parts(weights):
        if weights[part[0]].numel() > _SMALL:
            results[part[0]] = partial(alone, part)
        else:
            results |= {index: partial(given, result) for index, result in zip(part, node(part), strict=True)}
    return [results[index] for index in range(len(weights))]


def by_probabilities(form: Form, latent: Tensor, unit: Tensor) -> Tensor:
    """Expected entry of each weight, shape of the latent, with the gradient of the softmax.

    It is the variance of the entries by a factor, and vanishes where a weight is decided; `straight_through` has the
    same gradient everywhere.
    """
    position = latent.to(_exact(latent)) / unit
    return _ByProbabilities.apply(position, form).to(latent.dtype)  # type: ignore[no-any-return, no-untyped-call]


class _ByProbabilities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, position: Tensor, form: Form) -> Tensor:
        table, sharpness = form.table, form.sharpness
        # Small beside the width of a step between two entries, large beside the rounding error of a position.
        distance = (table[1] - table[0]) * min(_DISTANCE, _DISTANCE / sharpness)
        above = expected_entry(position + distance, table, sharpness)
        slope = above.sub_(expected_entry(position - distance, table, sharpness)).div_(2 * distance)
        ctx.save_for_backward(slope)
        return expected_entry(position, table, sharpness)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.saved_tensors[0], None


def given(weight: Tensor) -> Tensor:
    """A weight that is there already, in the form of `straight_through`'s results."""
    return weight


def _as_it_is(tensor: Tensor) -> Tensor:
    """For tensors that are saved aside from an activation checkpoint around the layer.

    It counts those of both passes, and only in the second pass are they saved inside.
    """
    return tensor


def _parts(weights: Sequence[Tensor]) -> Iterator[list[int]]:
    """Indices of the weights of each node: a large one alone, small ones together."""
    together: list[int] = []
    size = 0
    for index, weight in enumerate(weights):
        if weight.numel() > _SMALL:
            yield [index]
            continue
        if size + weight.numel() > _TOGETHER:
            yield together
            together, size = [], 0
        together.append(index)
        size += weight.numel()
    if together:
        yield together


class _StraightThrough(torch.autograd.Function):
    """Weights of one node: a large one, or small ones, whose gradients may come in several backward passes.

    PyTorch frees saved tensors in the first backward pass, and other attributes with the graph.
    """

    @staticmethod
    def forward(
        ctx: Any, groups: list[int | None], weights: Tensors, units: Tensors, factors: Tensors, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.groups = groups
        ctx.set_materialize_grads(False)
        scales = [scale.clone() for scale in parameters[len(weights) :]]
        if weights[0].numel() > _SMALL:
            ctx.kept = None
            ctx.save_for_backward(weights[0], units[0], factors[0], scales[0])
        else:
            ctx.kept = [weights, units, factors, scales]
        return tuple(weight.detach() for weight in weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kept = ctx.kept or [[tensor] for tensor in ctx.saved_tensors]
        count = len(grads)
        of_latents: list[Tensor | None] = [None] * count
        of_scales: list[Tensor | None] = [None] * count
        needed = ctx.needs_input_grad[4:]
        for index, (grad, weight, unit, factor, scale) in enumerate(zip(grads, *kept, strict=True)):
            if grad is None:
                continue
            if needed[index]:
                of_latents[index] = grad * (factor / unit)
            if needed[count + index]:
                # The weights of a channel whose scale is 0 are 0 as well, and so is its sum.
                total = _sum_of_channels(grad * weight, ctx.groups[index])
                of_scales[index] = total.div_(scale + torch.finfo(scale.dtype).tiny)
        return None, None, None, None, *of_latents, *of_scales


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
