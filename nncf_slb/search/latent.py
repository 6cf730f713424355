"""Distributions that follow from one number a weight.

From a trained weight, mirror descent's logits are ``A_k = -c (u - v_k)**2 / spacing**2`` with one latent ``u``, and a
step moves ``u`` alone (`nncf_slb.search.distribution.logits_from_weight`; Ajanthan et al., "Mirror Descent View for
Neural Network Quantization", 2021). So the softmax over all values, which is the reference, need not be stored, and for
evenly spaced integers it need not be computed either:

- two values: a hyperbolic tangent;
- sharp distributions: the two values around the latent alone, a sigmoid;
- three or four values: hyperbolic functions of the distance from their middle, one exponential in all;
- more: one ``k`` spacings above the nearest value ``n`` weighs ``a**k exp(-c k (k - 1))`` as much as ``n``, with
  ``a = exp(c (2 (u - n) / spacing - 1))``, and below it the same with the other sign of ``u - n``.

All tensors are in the unit of the table, an ascending tuple of its entries.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nncf_slb.search import scale

# exp(-18) is less than float32 tells from 0 beside 1: what is that improbable does not count.
_NEGLIGIBLE = 18.0
# Bounds of exponents. exp(80) is finite, and more would only come beyond the last entry, where a zero takes it away.
# Powers of exp(-25) are too small to count, yet above exp(-87), below which processors are ten times as slow.
_LARGE, _SMALL = 80.0, 25.0


def expected_entry(latent: Tensor, table: tuple[float, ...], sharpness: float) -> Tensor:
    """Expected table entry of each weight (paper, equation 5).

    Args:
        latent: Float tensor of any shape.
        table: Ascending entries.
        sharpness: ``c / tau``, above 0.

    Returns:
        Tensor of the latent's shape and dtype within the table's ends; within 1e-6 spacings of the softmax in float64.
    """
    if len(table) == 2:
        middle, half = (table[1] + table[0]) / 2, (table[1] - table[0]) / 2
        return latent.sub(middle).mul_(sharpness / (2 * half)).tanh_().mul_(half).add_(middle)
    if not is_even(table):
        return _by_softmax(latent, table, sharpness)[0]
    if sharpness >= _NEGLIGIBLE:
        return _between_two(latent, table, sharpness)
    if len(table) <= 4:
        return _around_middle(latent, table, sharpness)
    place = _place(latent, table)
    total, offset = _sums(latent, place, table, sharpness)
    return offset.div_(total).add_(place).mul_(table[1] - table[0]).add_(table[0])


def largest_probability(latent: Tensor, table: tuple[float, ...], sharpness: float) -> Tensor:
    """Probability of each weight's most probable entry; arguments as for `expected_entry`."""
    if not is_even(table) or (len(table) > 2 and sharpness < _NEGLIGIBLE):
        return _by_softmax(latent, table, sharpness)[1]
    _, exponent = _between(latent, table, sharpness)
    return exponent.abs_().sigmoid_()


def nearest_entry(latent: Tensor, table: tuple[float, ...]) -> Tensor:
    """The entry nearest to each latent; halfway between two, the lower one."""
    if not is_even(table):
        entries = torch.tensor(table, dtype=latent.dtype, device=latent.device)
        return entries[scale.nearest_codes(latent, entries)]
    return _place(latent, table).mul_(table[1] - table[0]).add_(table[0])


def nearest_codes(latent: Tensor, table: tuple[float, ...]) -> Tensor:
    """Codes of `nearest_entry`, uint8."""
    if not is_even(table):
        entries = torch.tensor(table, dtype=latent.dtype, device=latent.device)
        return scale.nearest_codes(latent, entries).to(torch.uint8)
    return _place(latent, table).to(torch.uint8)


def is_even(table: tuple[float, ...]) -> bool:
    """Whether the entries are integers, evenly spaced."""
    spacing = table[1] - table[0]
    return all(float(v).is_integer() for v in table) and all(
        table[k + 1] - table[k] == spacing for k in range(len(table) - 1)
    )


def _place(latent: Tensor, table: tuple[float, ...]) -> Tensor:
    """Codes of the nearest entries, as floats."""
    spacing = table[1] - table[0]
    return latent.sub(table[0] + spacing / 2).mul_(1 / spacing).ceil_().clamp_(0, len(table) - 1)


def _between(latent: Tensor, table: tuple[float, ...], sharpness: float) -> tuple[Tensor, Tensor]:
    """Code of the lower of the two entries around each latent, and the logit of the upper one.

    ``2 u - (2 n + spacing)`` is exact in the middle between two entries, where it decides.
    """
    first, spacing = table[0], table[1] - table[0]
    lower = latent.sub(first).mul_(1 / spacing).floor_().clamp_(0, len(table) - 2)
    logit = lower.mul(2 * spacing).add_(2 * first + spacing).sub_(latent, alpha=2).mul_(-sharpness / spacing)
    return lower, logit


def _between_two(latent: Tensor, table: tuple[float, ...], sharpness: float) -> Tensor:
    lower, logit = _between(latent, table, sharpness)
    upper = logit.sigmoid_()
    return upper.add_(lower).mul_(table[1] - table[0]).add_(table[0])


def _around_middle(latent: Tensor, table: tuple[float, ...], sharpness: float) -> Tensor:
    """For three or four entries, with the distance from their middle in spacings, ``y``.

    Three: ``2 r sinh(2 c y) / (1 + 2 r cosh(2 c y))``, ``r = exp(-c)``. Four, with ``s = 2 sinh(c y)`` and
    ``t = 2 cosh(c y)``: ``s (1/2 + 3/2 r (t**2 - 1)) / (t (1 + r (t**2 - 3)))``, ``r = exp(-2 c)``.
    """
    middle, spacing = (table[0] + table[-1]) / 2, table[1] - table[0]
    three = len(table) == 3
    # Beyond this distance the last entry has all the weight.
    bound = (len(table) - 1) / 2 + (_NEGLIGIBLE / sharpness - 1) / 2
    power = latent.sub(middle).mul_(1 / spacing).clamp_(-bound, bound).mul_((2 if three else 1) * sharpness).exp_()
    inverse = power.reciprocal()
    twice_sinh, twice_cosh = power - inverse, power.add_(inverse)
    if three:
        ratio = math.exp(-sharpness)
        result = twice_sinh.mul_(ratio).div_(twice_cosh.mul_(ratio).add_(1))
    else:
        ratio = math.exp(-2 * sharpness)
        square = torch.mul(twice_cosh, twice_cosh, out=inverse)
        twice_cosh.mul_(square.mul_(ratio).add_(1 - 3 * ratio))
        result = twice_sinh.mul_(square.mul_(1.5).add_(0.5 - 1.5 * ratio - 1.5 * (1 - 3 * ratio))).div_(twice_cosh)
    return result.mul_(spacing).add_(middle)


def _reach(table: tuple[float, ...], sharpness: float) -> int:
    """Entries to each side of the nearest one that have weight."""
    reach = 1
    while reach < len(table) - 1 and sharpness * reach * (reach + 1) < _NEGLIGIBLE:
        reach += 1
    return reach


def _sums(latent: Tensor, place: Tensor, table: tuple[float, ...], sharpness: float) -> tuple[Tensor, Tensor]:
    """Sums over all entries of their weights relative to the nearest one's, and of spacings from it times weights."""
    first, spacing = table[0], table[1] - table[0]
    above, below = (
        place.mul(2 * spacing)
        .add_(2 * first + side)  # twice the middle between the nearest entry and the next: exact, as what follows
        .sub_(latent, alpha=2)
        .mul_(-sharpness / side)
        .clamp_(-_SMALL, _LARGE)
        .exp_()
        for side in (spacing, -spacing)
    )
    reach = _reach(table, sharpness)
    total, offset = _side(above, place.neg().add_(len(table) - 1), sharpness, reach)
    other_total, other_offset = _side(below, place, sharpness, reach)
    return total.add_(other_total).add_(1), offset.sub_(other_offset)


def _side(beside: Tensor, available: Tensor, sharpness: float, reach: int) -> tuple[Tensor, Tensor]:
    """Both sums over one side, by Horner's rule from the farthest entry.

    Args:
        beside: Weight of the entry beside the nearest one.
        available: Entries on this side.
        sharpness: ``c / tau``.
        reach: Entries that count.
    """
    total = available.sub(reach - 1).clamp_(0, 1).mul_(beside)  # 0 where there is no such entry
    offset = total.mul(reach)
    for step in range(reach - 1, 0, -1):
        term = available.sub(step - 1).clamp_(0, 1).mul_(beside)
        ratio = math.exp(-2 * sharpness * step)
        total.mul_(ratio).add_(1).mul_(term)
        offset.mul_(ratio).add_(step).mul_(term)
    return total, offset


def _by_softmax(latent: Tensor, table: tuple[float, ...], sharpness: float) -> tuple[Tensor, Tensor]:
    """Expected entry and largest probability, entry by entry in float64, for entries at any distance.

    ``2 u - (v_k + v_n)`` keeps every digit near the middle between two entries, where it decides.
    """
    factor = sharpness * ((len(table) - 1) / (table[-1] - table[0])) ** 2
    nearest, twice = nearest_entry(latent, table).double(), 2 * latent.double()
    total, offset, largest = (torch.zeros_like(twice) for _ in range(3))
    for entry in torch.tensor(table, dtype=latent.dtype).double().tolist():
        apart = entry - nearest
        weight = torch.sub(twice, nearest + entry).mul_(apart).mul_(factor).exp_()
        total.add_(weight)
        offset.addcmul_(apart, weight)
        largest = torch.maximum(largest, weight)  # near the middle of two entries either may be taken for the nearest
    return offset.div_(total).add_(nearest).to(latent), largest.div_(total).to(latent)
