"""Which width each layer gets: the least total loss within a budget (multiple-choice knapsack), solved exactly.

Dynamic programming over the layers keeps the partial choices that no other beats in both cost and loss. Of these, only
those remain whose Lagrangian bound, ``loss + multiplier * (cost - budget)`` with the best that the other layers can
add, is not above the loss of a choice already found: a few thousand for a hundred layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from nncf_slb.errors import SLBError

Options = Sequence[Sequence[tuple[int, float]]]
_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]
# Multiples of the relaxation's multiplier: each gives a bound that holds, and the tightest of them counts.
_MULTIPLES = np.array([0.5, 0.8, 1.0, 1.25, 2.0])


class BudgetTooSmallError(SLBError, ValueError):
    """Even the cheapest options cost more than the budget.

    Attributes:
        smallest: Their cost.
    """

    def __init__(self, budget: float, smallest: float) -> None:
        self.smallest = smallest
        super().__init__(f"budget: received {budget:g}; the cheapest options cost {smallest:g}")


def allocate(options: Options, budget: int) -> list[int]:
    """Choose one option for each layer so that the sum of losses is least and the sum of costs within the budget.

    Args:
        options: For each layer, its options as (cost, loss): whole non-negative numbers and finite ones.
        budget: Largest sum of costs.

    Returns:
        Index of the chosen option for each layer; among equal losses, the cheaper choice.

    Raises:
        BudgetTooSmallError: If no choice is within the budget.

    Example:
        >>> allocate([[(1, 9.0), (2, 1.0)], [(10, 3.0), (20, 0.0)]], budget=21)
        [0, 1]
    """
    smallest = sum(min(cost for cost, _ in layer) for layer in options)
    if smallest > budget:
        raise BudgetTooSmallError(budget, smallest)
    multiplier, enough = _relaxation(options, budget)
    multipliers = multiplier * _MULTIPLES
    costs = [np.array([cost for cost, _ in layer], dtype=np.int64) for layer in options]
    losses = [np.array([loss for _, loss in layer], dtype=np.float64) for layer in options]
    cheapest_rest = _sums_from([int(cost.min()) for cost in costs])
    bound_rest = _sums_from(
        [(loss + multipliers[:, None] * cost).min(axis=1) for cost, loss in zip(costs, losses, strict=True)]
    )
    allowed = enough + 1e-9 * (abs(enough) + sum(float(np.abs(loss).max()) for loss in losses))
    cost: _Integers = np.zeros(1, np.int64)
    loss: _Floats = np.zeros(1)
    came_from: list[tuple[_Integers, _Integers]] = []
    for index in range(len(options)):
        cost, loss, parent, option = _extended(cost, loss, costs[index], losses[index])
        bound = loss + (multipliers[:, None] * (cost - budget) + bound_rest[index + 1][:, None]).max(axis=0)
        kept = (cost + cheapest_rest[index + 1] <= budget) & (bound <= allowed)
        kept[kept] = _undominated(cost[kept], loss[kept])
        cost, loss = cost[kept], loss[kept]
        came_from.append((parent[kept], option[kept]))
    return _traced_back(came_from, int(loss.argmin()))


def _relaxation(options: Options, budget: int) -> tuple[float, float]:
    """Loss saved per unit of cost where the budget runs out, and the loss of a choice within it.

    Steps along each layer's lower convex hull are taken in the order of what they save; a layer stops at the first one
    that does not fit.
    """
    hulls = [_hull(layer) for layer in options]
    spent = sum(hull[0][0] for hull in hulls)
    loss = sum(hull[0][1] for hull in hulls)
    steps = sorted(
        ((before[1] - after[1]) / (after[0] - before[0]), index, after[0] - before[0], before[1] - after[1])
        for index, hull in enumerate(hulls)
        for before, after in pairwise(hull)
    )
    multiplier, stopped = 0.0, set[int]()
    for slope, index, cost, saved in reversed(steps):
        if index in stopped:
            continue
        if spent + cost <= budget:
            spent, loss = spent + cost, loss - saved
        else:
            stopped.add(index)
            multiplier = multiplier or slope
    return multiplier, loss


def _hull(layer: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Options on the lower convex hull from the cheapest to that of the least loss."""
    hull: list[tuple[int, float]] = []
    for cost, loss in sorted(layer):
        if hull and loss >= hull[-1][1]:
            continue
        while len(hull) > 1 and _above_chord(hull[-2], hull[-1], (cost, loss)):
            hull.pop()
        hull.append((cost, loss))
    return hull


def _above_chord(a: tuple[int, float], b: tuple[int, float], c: tuple[int, float]) -> bool:
    return (a[1] - b[1]) * (c[0] - a[0]) <= (a[1] - c[1]) * (b[0] - a[0])


def _sums_from(numbers: Sequence[npt.ArrayLike]) -> list[npt.NDArray[np.float64]]:
    """Entry ``k``: sum of the numbers from ``k`` on."""
    sums = [np.zeros_like(np.asarray(numbers[0], dtype=np.float64)) if numbers else np.zeros(len(_MULTIPLES))]
    for number in reversed(numbers):
        sums.append(sums[-1] + np.asarray(number, dtype=np.float64))
    return sums[::-1]


def _extended(
    cost: _Integers, loss: _Floats, more_cost: _Integers, more_loss: _Floats
) -> tuple[_Integers, _Floats, _Integers, _Integers]:
    """Every partial choice with every option of the next layer, by cost and then loss, and where each comes from."""
    costs, losses = (cost[:, None] + more_cost).ravel(), (loss[:, None] + more_loss).ravel()
    order = np.lexsort((losses, costs))
    parent, option = np.divmod(order, len(more_cost))
    return costs[order], losses[order], parent, option


def _undominated(cost: _Integers, loss: _Floats) -> npt.NDArray[np.bool_]:
    """Which of the choices, ordered by cost and then loss, have a lower loss than all cheaper ones."""
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(loss)[:-1]])
    return loss < best_before


def _traced_back(came_from: Sequence[tuple[_Integers, _Integers]], last: int) -> list[int]:
    chosen = []
    for parent, option in reversed(came_from):
        chosen.append(int(option[last]))
        last = int(parent[last])
    return chosen[::-1]
