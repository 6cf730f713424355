"""Distributions that follow from one number a weight, for many weights at once.

From a trained weight, mirror descent's logits are ``A_k = -c (u - v_k)**2 / spacing**2`` with one latent ``u``, and a
step moves ``u`` alone (`nncf_slb.search.distribution.logits_from_weight`; Ajanthan et al., "Mirror Descent View for
Neural Network Quantization", 2021). So the softmax over all values, which is the reference, need not be stored. Two
values: a hyperbolic tangent. Evenly spaced integers: ``k`` spacings above the nearest value ``n``, a value weighs
``a**k * exp(-c k (k - 1))`` as much as ``n``, with ``a = exp(c (2 (u - n) / spacing - 1))``, and below it the same with
the other sign. So two exponentials give the weights of all values that count.

All tensors are in the unit of the table, an ascending tuple. Lists of tensors take one call of PyTorch for each step
of the arithmetic, whatever their number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nncf_slb.search import scale

Tensors = list[Tensor]

_NEGLIGIBLE = 18.0  # exp(-18) is less than float32 tells from 0 beside 1
# Bound of exponents. exp(80) is finite, and more would only come beyond the last entry, where a zero takes it away;
# processors are ten times as slow with numbers below exp(-87).
_LARGE = 80.0


def expected_entries(latents: Tensors, table: tuple[float, ...], sharpness: float) -> Tensors:
    """Expected table entry of each weight (paper, equation 5).

    Args:
        latents: Float tensors of any shapes.
        table: Ascending entries.
        sharpness: ``c / tau``, above 0.

    Returns:
        Tensors of the latents' shapes and dtypes within the table's ends; within 1e-6 spacings of the softmax in
        float64.
    """
    if len(table) == 2:
        middle, half = (table[1] + table[0]) / 2, (table[1] - table[0]) / 2
        expected = list(torch._foreach_sub(latents, middle))
        torch._foreach_mul_(expected, sharpness / (2 * half))
        torch._foreach_tanh_(expected)
        torch._foreach_mul_(expected, half)
        if middle:
            torch._foreach_add_(expected, middle)
        return expected
    if not is_even(table):
        return [_expectation(latent, table, sharpness)[0] for latent in latents]
    nearest = nearest_entries(latents, table)
    total, offset = _sums(latents, nearest, table, sharpness)
    torch._foreach_div_(offset, total)
    torch._foreach_mul_(offset, _spacing(table))
    torch._foreach_add_(offset, nearest)
    return offset


def largest_probability(latent: Tensor, table: tuple[float, ...], sharpness: float) -> Tensor:
    """Probability of each weight's most probable entry; arguments as for `expected_entries`, for one tensor."""
    if not is_even(table):
        return _expectation(latent, table, sharpness)[1]
    nearest, spacing = nearest_entries([latent], table), _spacing(table)
    (total,), _ = _sums([latent], nearest, table, sharpness)
    # In the middle between two entries, rounding may take either for the nearest.
    largest = torch.ones_like(latent)
    for side, end in ((spacing, table[-1]), (-spacing, table[0])):
        (other,) = _beside([latent], nearest, side, sharpness)
        largest = torch.where(nearest[0] == end, largest, torch.maximum(largest, other))
    return largest.div_(total)


def nearest_entries(latents: Tensors, table: tuple[float, ...]) -> Tensors:
    """The entry nearest to each latent; halfway between two, the lower one."""
    if not is_even(table):
        entries = [torch.tensor(table, dtype=latent.dtype, device=latent.device) for latent in latents]
        return [entry[scale.nearest_codes(latent, entry)] for latent, entry in zip(latents, entries, strict=True)]
    nearest = _places(latents, table)
    torch._foreach_mul_(nearest, _spacing(table))
    torch._foreach_add_(nearest, table[0])
    return nearest


def nearest_codes(latent: Tensor, table: tuple[float, ...]) -> Tensor:
    """Codes of `nearest_entries`, uint8, for one tensor."""
    if not is_even(table):
        entries = torch.tensor(table, dtype=latent.dtype, device=latent.device)
        return scale.nearest_codes(latent, entries).to(torch.uint8)
    return _places([latent], table)[0].to(torch.uint8)


def _places(latents: Tensors, table: tuple[float, ...]) -> Tensors:
    """Codes of the nearest entries of an even table, as floats."""
    spacing = _spacing(table)
    places = list(torch._foreach_sub(latents, table[0] + spacing / 2))
    torch._foreach_mul_(places, 1 / spacing)
    torch._foreach_ceil_(places)
    torch._foreach_clamp_min_(places, 0.0)
    torch._foreach_clamp_max_(places, len(table) - 1.0)
    return places


def is_even(table: tuple[float, ...]) -> bool:
    """Whether the entries are integers, evenly spaced."""
    spacing = table[1] - table[0]
    return all(float(v).is_integer() for v in table) and all(
        table[k + 1] - table[k] == spacing for k in range(len(table) - 1)
    )


def _spacing(table: tuple[float, ...]) -> float:
    return table[1] - table[0]


def _reach(table: tuple[float, ...], sharpness: float) -> int:
    """Entries to each side of the nearest one that have weight."""
    reach = 1
    while reach < len(table) - 1 and sharpness * reach * (reach + 1) < _NEGLIGIBLE:
        reach += 1
    return reach


def _sums(latents: Tensors, nearest: Tensors, table: tuple[float, ...], sharpness: float) -> tuple[Tensors, Tensors]:
    """Sums over all entries of their weights relative to the nearest one's, and of spacings from it times weights."""
    spacing, reach = _spacing(table), _reach(table, sharpness)
    above = list(torch._foreach_sub(nearest, table[-1]))
    torch._foreach_mul_(above, -1 / spacing)  # entries above the nearest one
    total, offset = _side(_beside(latents, nearest, spacing, sharpness), above, sharpness, reach)
    below = list(torch._foreach_sub(nearest, table[0]))
    torch._foreach_mul_(below, 1 / spacing)
    other_total, other_offset = _side(_beside(latents, nearest, -spacing, sharpness), below, sharpness, reach)
    torch._foreach_add_(total, other_total)
    torch._foreach_add_(total, 1.0)
    torch._foreach_sub_(offset, other_offset)
    return total, offset


def _side(beside: Tensors, available: Tensors, sharpness: float, reach: int) -> tuple[Tensors, Tensors]:
    """Both sums over one side, by Horner's rule from the farthest entry.

    Args:
        beside: Weight of the entry beside the nearest one.
        available: Entries on this side.
        sharpness: ``c / tau``.
        reach: Entries that count.
    """
    total: Tensors = []
    offset: Tensors = []
    for step in range(reach, 0, -1):
        term = list(torch._foreach_sub(available, step - 1.0)) if step > 1 else available
        torch._foreach_clamp_min_(term, 0.0)
        torch._foreach_clamp_max_(term, 1.0)  # 1 where there is such an entry, else 0
        torch._foreach_mul_(term, beside)
        if total:
            ratio = math.exp(-2 * sharpness * step)
            torch._foreach_mul_(total, ratio)
            torch._foreach_add_(total, 1.0)
            torch._foreach_mul_(total, term)
            torch._foreach_mul_(offset, ratio)
            torch._foreach_add_(offset, float(step))
            torch._foreach_mul_(offset, term)
        else:
            total = term
            offset = list(torch._foreach_mul(term, float(step))) if step > 1 else [t.clone() for t in term]
    return total, offset


def _beside(latents: Tensors, nearest: Tensors, spacing: float, sharpness: float) -> Tensors:
    """Weight of the entry one spacing above the nearest one (below it, if that is negative), relative to it.

    ``2 u - (2 n + spacing)`` is exact in the middle between two entries, where it decides.
    """
    middle = list(torch._foreach_mul(nearest, 2.0))
    torch._foreach_add_(middle, spacing)
    weight = list(torch._foreach_mul(latents, 2.0))
    torch._foreach_sub_(weight, middle)
    torch._foreach_mul_(weight, sharpness / spacing)
    torch._foreach_clamp_max_(weight, _LARGE)
    torch._foreach_clamp_min_(weight, -_LARGE)
    torch._foreach_exp_(weight)
    return weight


def _expectation(latent: Tensor, table: tuple[float, ...], sharpness: float) -> tuple[Tensor, Tensor]:
    """Expected entry and largest probability, entry by entry in float64, for entries at any distance.

    ``2 u - (v_k + v_n)`` keeps every digit near the middle between two entries, where it decides.
    """
    factor = sharpness * ((len(table) - 1) / (table[-1] - table[0])) ** 2
    (nearest,) = nearest_entries([latent], table)
    nearest, twice = nearest.double(), 2 * latent.double()
    total, offset, largest = (torch.zeros_like(twice) for _ in range(3))
    for entry in torch.tensor(table, dtype=latent.dtype).double().tolist():
        apart = entry - nearest
        weight = torch.sub(twice, nearest + entry).mul_(apart).mul_(factor).exp_()
        total.add_(weight)
        offset.addcmul_(apart, weight)
        largest = torch.maximum(largest, weight)  # near the middle of two entries either may be taken for the nearest
    return offset.div_(total).add_(nearest).to(latent), largest.div_(total).to(latent)
