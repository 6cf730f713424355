"""The config section: what it accepts, and what it says about mistakes; its JSON schema agrees."""

import json
import pickle

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_slb.config.section import ConfigError, SLBConfig, json_schema, parse_slb_config
from nncf_slb.search.temperature import CURVES
from nncf_slb.search.values import MAX_VALUES, VALUE_SETS
from tests.config.config_sections import (
    CONTRADICTIONS,
    GOOD,
    MALFORMED,
    accepted_by_model,
    accepted_by_schema,
    leaves,
    section,
    weights,
)


@pytest.mark.parametrize(("config", "fragments"), MALFORMED + CONTRADICTIONS)
def test_one_mistake_gives_one_line_that_explains_it(config, fragments):
    with pytest.raises(ConfigError) as caught:
        parse_slb_config(config)
    assert len(caught.value.problems) == 1
    for fragment in fragments:
        assert fragment in caught.value.problems[0]
    assert caught.value.problems[0] in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "", {}, 3])
def test_values_refuse_what_json_can_smuggle_in(value):
    for values in (value, [0, value] if isinstance(value, float) else value):
        with pytest.raises(ConfigError, match="weights.values: received"):
            parse_slb_config(weights(values=values))


def test_all_mistakes_are_reported_at_once_with_the_given_path():
    config = section(bits=1, weights={"bits": 9, "values": "x"}, params={"end_epoch": 1, "end_fraction": 0.5})
    config["params"] |= {"update_per_optimizer_step": False, "steps_per_epoch": 2}
    with pytest.raises(ConfigError, match="5 problems") as caught:
        parse_slb_config(config, "compression[1]")
    fields = {line.partition(":")[0].removeprefix("compression[1].") for line in caught.value.problems}
    assert fields == {"bits", "weights.bits", "weights.values", "params.steps_per_epoch", "params.end_fraction"}


@pytest.mark.parametrize("config", GOOD + [config for config, _ in CONTRADICTIONS])
def test_schema_accepts_what_is_right_in_form(config):
    assert accepted_by_schema(config)
    assert accepted_by_schema(json.loads(json.dumps(config)))


@pytest.mark.parametrize("config", [config for config, _ in MALFORMED])
def test_schema_refuses_what_is_wrong_in_form(config):
    assert not accepted_by_schema(config)


@pytest.mark.parametrize("config", GOOD)
def test_good_configs_survive_a_round_trip(config):
    parsed = parse_slb_config(config)
    assert parse_slb_config(json.loads(parsed.model_dump_json(exclude_defaults=True))) == parsed


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.floats(-2, 20, allow_nan=False),
    st.sampled_from(["a", "none", ""]),
)
JSON = PLAIN | st.lists(PLAIN, max_size=4) | st.dictionaries(st.sampled_from(["bits", "x"]), PLAIN, max_size=2)


@given(st.sampled_from(sorted(leaves(json_schema()))), JSON)
def test_model_and_schema_agree_on_any_single_setting(path, value):
    config = section()
    inner = config
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    if accepted_by_model(config):
        assert accepted_by_schema(config)
    elif accepted_by_schema(config):
        with pytest.raises(ConfigError) as caught:
            parse_slb_config(config)
        assert "Change it" not in str(caught.value)  # only contradictions escape the schema


def test_schema_is_self_contained_and_closed():
    schema = json_schema()
    assert "$ref" not in json.dumps(schema) and "$defs" not in schema
    assert schema["required"] == ["algorithm"] and schema["additionalProperties"] is False
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in leaves(schema):
        node = schema
        for name in path:
            node = node["properties"][name]
        assert node["description"]


def test_schema_shows_the_defaults_that_hold():
    settings = {path: json_schema() for path in leaves(json_schema())}
    for path, node in settings.items():
        for name in path:
            node = node["properties"][name]
        settings[path] = node.get("default")
    config = parse_slb_config(section())
    assert settings["weights", "bits"] == config.weights.bits == 2
    assert settings["params", "inverse_temperature_end"] == config.params.effective_inverse_temperature_end == 20
    fractions = (settings["params", "start_fraction"], settings["params", "end_fraction"])
    assert config.params.epoch_range(1) == fractions == (0, 0.85)


def test_names_are_those_of_the_code_behind_them():
    assert json_schema()["properties"]["params"]["properties"]["schedule"]["enum"] == list(CURVES)
    names, numbers = json_schema()["properties"]["weights"]["properties"]["values"]["anyOf"]
    assert names["enum"] == list(VALUE_SETS) and numbers["maxItems"] == MAX_VALUES


def test_schema_of_the_model_class_is_the_public_one():
    assert SLBConfig.model_validate(section()) == parse_slb_config(section())


def test_an_error_survives_pickling():
    again = pickle.loads(pickle.dumps(ConfigError(["a", "b"])))
    assert again.problems == ("a", "b") and str(again) == str(ConfigError(["a", "b"]))
