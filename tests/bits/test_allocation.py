"""Exact choice within a budget, against trying everything."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_slb.bits.allocation import BudgetTooSmallError, allocate

LOSSES = st.one_of(st.integers(-3, 9).map(float), st.floats(0, 1e-3), st.floats(0, 1e6))
LAYERS = st.lists(st.lists(st.tuples(st.integers(0, 20), LOSSES), min_size=1, max_size=4), max_size=6)


def cost_of(layers, chosen):
    return sum(layer[index][0] for layer, index in zip(layers, chosen, strict=True))


def loss_of(layers, chosen):
    return sum(layer[index][1] for layer, index in zip(layers, chosen, strict=True))


@given(LAYERS, st.integers(0, 60))
def test_no_choice_within_the_budget_has_a_lower_loss(layers, spare):
    budget = sum(min(cost for cost, _ in layer) for layer in layers) + spare
    chosen = allocate(layers, budget)
    every = itertools.product(*(range(len(layer)) for layer in layers))
    best = min(loss_of(layers, each) for each in every if cost_of(layers, each) <= budget)
    assert cost_of(layers, chosen) <= budget
    rounding = 1e-8 * sum(abs(loss) for layer in layers for _, loss in layer)
    assert loss_of(layers, chosen) == pytest.approx(best, rel=1e-8, abs=rounding)


def test_a_greedy_choice_would_be_worse():
    # The step that saves most per unit of cost, 10 for 5, leaves no room for the two that save 16 together.
    layers = [[(0, 10.0), (5, 0.0)], [(0, 8.0), (5, 0.5)], [(0, 8.5), (5, 0.0)]]
    assert allocate(layers, 10) == [1, 0, 1]
    layers = [[(0, 10.0), (6, 0.0)], [(0, 8.0), (5, 0.0)], [(0, 8.0), (5, 0.0)]]
    assert allocate(layers, 10) == [0, 1, 1]


def test_of_equal_losses_the_cheaper_choice_is_taken():
    assert allocate([[(3, 1.0), (2, 1.0)], [(1, 0.0), (5, 0.0)]], 100) == [1, 0]


def test_costs_of_a_large_network_are_met_to_the_byte():
    weights = [64 * 64 * 9] * 4 + [128 * 128 * 9] * 4 + [256 * 256 * 9] * 4 + [512 * 512 * 9] * 4 + [512 * 1000]
    layers = [[(w * bits // 8, (index + 1) * 4.0**-bits) for bits in (1, 2, 3, 4)] for index, w in enumerate(weights)]
    chosen = allocate(layers, 2_800_000)
    assert allocate(layers, cost_of(layers, chosen)) == chosen
    assert loss_of(layers, allocate(layers, cost_of(layers, chosen) - 1)) > loss_of(layers, chosen)


def test_a_budget_too_small_says_what_is_needed():
    with pytest.raises(BudgetTooSmallError, match="received 10; the cheapest options cost 11") as caught:
        allocate([[(5, 0.0), (7, 0.0)], [(6, 0.0)]], 10)
    assert caught.value.smallest == 11
