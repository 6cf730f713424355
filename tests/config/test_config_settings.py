"""What the settings of a good section come to."""

import pytest
from pydantic import ValidationError

from nncf_slb.config.section import ResolvedWeights, parse_slb_config
from tests.config.config_sections import auto, params, section, weights


@pytest.mark.parametrize(
    ("settings", "bits"),
    [({}, 2), ({"values": [0, 1]}, 1), ({"values": [0, 1, 2]}, 2), ({"values": list(range(5))}, 3)]
    + [({"values": list(range(16))}, 4), ({"values": "ternary"}, 2), ({"values": "zero_centered"}, 2)],
)
def test_bits_follow_from_the_values(settings, bits):
    assert parse_slb_config(weights(**settings)).weights.bits == bits


def test_first_matching_override_wins_and_inherits_the_rest():
    overrides = [
        {"target_scopes": "a", "values": [0, 1]},
        {"target_scopes": ["a", "b"], "bits": 1},
        {"target_scopes": "c", "values": "ternary", "scale": "none"},
    ]
    config = parse_slb_config(weights(bits=4, overrides=overrides)).weights
    resolved = [config.resolve(lambda scopes, name=name: name in scopes) for name in "abcd"]
    assert resolved == [
        ResolvedWeights(1, (0.0, 1.0), "per_channel"),
        ResolvedWeights(1, "uniform", "per_channel"),
        ResolvedWeights(2, "ternary", "none"),
        ResolvedWeights(4, "uniform", "per_channel"),
    ]


def test_automatic_bits_have_candidates_where_nothing_else_sets_them():
    overrides = [
        {"target_scopes": "a", "values": "ternary"},
        {"target_scopes": "b", "values": "zero_centered"},
        {"target_scopes": "c", "bits": 3},
    ]
    config = parse_slb_config(auto(overrides=overrides)).weights
    resolved = [config.resolve(lambda scopes, name=name: name in scopes) for name in "abcd"]
    assert resolved == [
        ResolvedWeights(2, "ternary", "per_channel"),
        ResolvedWeights("auto", "zero_centered", "per_channel", (2, 3, 4)),
        ResolvedWeights(3, "uniform", "per_channel"),
        ResolvedWeights("auto", "uniform", "per_channel", (1, 2, 3, 4)),
    ]
    assert parse_slb_config(auto(candidates=[4, 2])).weights.resolve(lambda _: False).candidates == (2, 4)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, (0, 17)), ({"epochs": 10}, (0, 8.5)), ({"start_epoch": 2, "end_fraction": 0.5}, (2, 10))]
    + [({"start_fraction": 0.25, "end_epoch": 12.5}, (5, 12.5))],
)
def test_epoch_range_combines_epochs_and_fractions(settings, expected):
    assert parse_slb_config(params(**settings)).params.epoch_range(20) == pytest.approx(expected)


def test_a_factor_leaves_no_end_of_the_inverse_temperature():
    assert parse_slb_config(params(inverse_temperature_factor=1.2)).params.effective_inverse_temperature_end is None


def test_config_is_frozen():
    with pytest.raises(ValidationError):
        parse_slb_config(section()).weights.bits = 3
