"""Scale of each output channel that fits discrete weights to float ones best, and the values nearest to a weight."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-8  # scale of a channel of zeros
_BLOCK = 131_072  # weights that are fitted at a time, so that what lies between two steps stays in the cache


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
    if len(values) == 2 and float(values[0]) == -float(values[1]):
        return (rows.abs().mean(dim=1) / values[1]).clamp_min(_TINY)
    channels = max(1, _BLOCK // max(1, rows.shape[1]))
    blocks = [_fit(block, values, candidates, refinements) for block in torch.split(rows, channels)]
    return torch.cat(blocks)


def _fit(rows: Tensor, values: Tensor, candidates: int, refinements: int) -> Tensor:
    largest = (rows.abs().amax(dim=1) / values.abs().max()).clamp_min(_TINY)
    sample = rows[:, :: max(1, rows.shape[1] // 512)].contiguous()  # enough to find the basin
    best_scale, best_error = largest, torch.full_like(largest, torch.inf)
    for fraction in torch.linspace(1.2 / candidates, 1.2, candidates).tolist():
        scale = largest * fraction
        error, _ = _error_and_next_scale(sample, values, scale)
        better = error < best_error
        best_scale, best_error = torch.where(better, scale, best_scale), torch.where(better, error, best_error)
    best_error, next_scale = _error_and_next_scale(rows, values, best_scale)
    for _ in range(refinements):
        scale = torch.where(next_scale > _TINY, next_scale, best_scale)
        error, next_scale = _error_and_next_scale(rows, values, scale)
        better = error < best_error
        if not bool(better.any()):
            break
        best_scale, best_error = torch.where(better, scale, best_scale), torch.where(better, error, best_error)
    return best_scale.clamp_min(_TINY)


def _error_and_next_scale(rows: Tensor, values: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error ``[channels]`` of rows with the codes that are nearest at a scale, and the best scale for these."""
    picked = nearest_values(rows / scale[:, None], values)
    fitted = torch.linalg.vecdot(picked, rows) / torch.linalg.vecdot(picked, picked).clamp_min(1e-8)
    rest = picked.mul_(scale[:, None]).sub_(rows)
    return torch.linalg.vecdot(rest, rest), fitted
