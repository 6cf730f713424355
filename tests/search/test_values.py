"""Sets of discrete values and the integers they are stored as."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nncf_slb.search.values import VALUE_SETS, ValuesName, are_distinct, make_values


def numbers_of(values):
    return [entry * values.step for entry in values.table]


@pytest.mark.parametrize(
    ("name", "bits", "numbers"),
    [
        ("uniform", 1, [-1, 1]),
        ("uniform", 2, [-1, -1 / 3, 1 / 3, 1]),
        ("zero_centered", 2, [-1, -0.5, 0, 0.5]),
        ("ternary", 2, [-1, 0, 1]),
        ("power_of_two", 1, [-1, 1]),
        ("power_of_two", 3, [-1, -0.5, -0.25, 0, 0.25, 0.5, 1]),
    ],
)
def test_named_sets_hold_the_documented_numbers(name, bits, numbers):
    assert numbers_of(make_values(name, bits)) == pytest.approx(numbers)


@pytest.mark.parametrize(
    ("name", "bits"), [(name, bits) for name, entry in VALUE_SETS.items() for bits in entry.widths]
)
def test_named_sets_are_ascending_fit_their_bits_and_int8(name, bits):
    values = make_values(name, bits)
    assert numbers_of(values) == sorted(set(numbers_of(values)))
    assert len(values) <= 2**values.bits
    assert values.is_integer
    assert max(abs(n) for n in numbers_of(values)) == pytest.approx(1.0)


def test_list_gets_the_smallest_integer_table():
    values = make_values([0.5, -1.5, 0.25], 4)
    assert values.bits == 2
    assert values.table == (-6.0, 1.0, 2.0)
    assert numbers_of(values) == pytest.approx([-1.5, 0.25, 0.5])


def test_list_without_a_common_step_keeps_its_numbers():
    values = make_values([-np.pi, 1.0, np.sqrt(2)], 2)
    assert not values.is_integer
    assert numbers_of(values) == pytest.approx([-np.pi, 1.0, np.sqrt(2)])


@given(st.lists(st.floats(-10, 10, width=32).filter(lambda v: abs(v) > 1e-3), min_size=2, max_size=16, unique=True))
def test_any_list_is_reproduced(numbers):
    assume(are_distinct(numbers))
    values = make_values(numbers, 4)
    assert numbers_of(values) == pytest.approx(sorted(numbers), rel=1e-4, abs=1e-4)
    assert len(set(values.table)) == len(numbers)


@pytest.mark.parametrize("numbers", [[1.0], [1.0, 1.0], list(range(17)), [0, 1e-7, 1.0], [-5, 4, 4.000005]])
def test_list_of_wrong_length_or_with_equal_numbers_is_refused(numbers):
    with pytest.raises(ValueError, match="2 to 16 different numbers"):
        make_values(numbers, 4)


@pytest.mark.parametrize(("name", "bits"), [("zero_centered", 1), ("ternary", 3), ("uniform", 5)])
def test_bits_that_a_set_cannot_have_are_refused(name, bits):
    with pytest.raises(ValueError, match=f"received {bits}; allowed with {name} values"):
        make_values(name, bits)


def test_every_name_that_the_config_offers_has_an_entry():
    assert set(get_args(ValuesName)) == set(VALUE_SETS)


def test_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"'log'; allowed are uniform, zero_centered"):
        make_values("log", 2)
