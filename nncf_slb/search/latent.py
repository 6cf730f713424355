"""Distributions that follow from one number a weight.

From a trained weight, mirror descent's logits are ``A_k = -c (u - v_k)**2 / spacing**2`` with one latent ``u``, and a
step moves ``u`` alone (`nncf_slb.search.distribution.logits_from_weight`; Ajanthan et al., "Mirror Descent View for
Neural Network Quantization", 2021). So the softmax over all values, which is the reference, need not be stored: weights
of values relative to the nearest one are summed up one by one. All tensors are in the unit of the table.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nncf_slb.search.scale import nearest_codes

_NEGLIGIBLE = 18.0  # exp(-18) is less than float32 tells from 0 beside 1


def expected_entry(latent: Tensor, table: Tensor, sharpness: float) -> Tensor:
    """Expected table entry of each weight (paper, equation 5).

    Args:
        latent: Float tensor of any shape.
        table: Ascending entries ``[len(values)]``.
        sharpness: ``c / tau``, above 0.

    Returns:
        Tensor of the latent's shape and dtype within the table's ends; within 1e-6 spacings of the softmax in float64.
    """
    if len(table) == 2:
        middle, half = (table[1] + table[0]) / 2, (table[1] - table[0]) / 2
        return torch.addcmul(middle, half, torch.tanh((latent - middle) * (sharpness / (2 * half))))
    nearest = _nearest(latent, table)
    offset, total = torch.zeros_like(latent), torch.zeros_like(latent)
    for apart, weight in _weights(latent, table, sharpness, nearest):
        offset.addcmul_(apart, weight) if isinstance(apart, Tensor) else offset.add_(weight, alpha=apart)
        total.add_(weight)
    return offset.div_(total).add_(nearest)


def largest_probability(latent: Tensor, table: Tensor, sharpness: float) -> Tensor:
    """Probability of each weight's most probable entry; arguments as for `expected_entry`."""
    largest, total = torch.zeros_like(latent), torch.zeros_like(latent)
    for _, weight in _weights(latent, table, sharpness, _nearest(latent, table)):
        largest = torch.maximum(largest, weight)  # near the middle of two entries either may be taken for the nearest
        total.add_(weight)
    return largest / total


def _is_even(table: Tensor) -> bool:
    steps = table.diff()
    return bool((steps == steps[0]).all()) and bool((table == table.round()).all())


def _nearest(latent: Tensor, table: Tensor) -> Tensor:
    """The entry nearest to each latent."""
    if not _is_even(table):
        return table[nearest_codes(latent, table)]
    first, last, spacing = float(table[0]), float(table[-1]), float(table[1] - table[0])
    return latent.sub(first).div_(spacing).sub_(0.5).ceil_().mul_(spacing).add_(first).clamp_(first, last)


def _weights(
    latent: Tensor, table: Tensor, sharpness: float, nearest: Tensor
) -> Iterator[tuple[Tensor | float, Tensor]]:
    """For each entry, how far it is from the nearest one, and its weight relative to that one's.

    ``2 u - (v_k + v_n)`` keeps every digit near the middle between two entries, where it decides, if the entries are
    integers; others take float64.
    """
    reach = _reach(len(table), sharpness)
    if not _is_even(table):
        factor = sharpness * float((len(table) - 1) / (table[-1].double() - table[0].double())) ** 2
        for apart, weight in _all_weights(latent.double(), table.double(), factor, nearest.double()):
            yield apart.to(latent), weight.to(latent)
    elif len(table) <= 2 * reach:
        spacing = float(table[1] - table[0])
        yield from _all_weights(latent, table, sharpness / spacing**2, nearest)
    else:
        yield from _near_weights(latent, table, sharpness, nearest, reach)


def _reach(count: int, sharpness: float) -> int:
    """Evenly spaced entries to each side of the nearest one that have weight."""
    reach = 1
    while reach < count - 1 and sharpness * reach * (reach + 1) < _NEGLIGIBLE:
        reach += 1
    return reach


def _all_weights(latent: Tensor, table: Tensor, factor: float, nearest: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    twice = 2 * latent
    for entry in table.tolist():
        apart = entry - nearest
        yield apart, torch.sub(twice, nearest + entry).mul_(apart).mul_(factor).exp_()


def _near_weights(
    latent: Tensor, table: Tensor, sharpness: float, nearest: Tensor, reach: int
) -> Iterator[tuple[float, Tensor]]:
    first, last, spacing = float(table[0]), float(table[-1]), float(table[1] - table[0])
    twice, twice_nearest = 2 * latent, 2 * nearest
    yield 0.0, torch.ones_like(latent)
    for count in [*range(-reach, 0), *range(1, reach + 1)]:
        apart = count * spacing
        weight = torch.sub(twice, twice_nearest + apart).mul_(sharpness * count / spacing).exp_()
        outside = nearest < first - apart if count < 0 else nearest > last - apart
        yield apart, weight.masked_fill_(outside, 0.0)
