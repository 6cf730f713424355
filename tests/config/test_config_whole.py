"""A section within a whole NNCF config: found, and checked together with what stands around it."""

import pytest

from nncf_slb.config.section import ConfigError, find_slb_sections, validate_nncf_config
from tests.config.config_sections import auto, params, section, weights


def test_other_algorithms_are_left_alone():
    other = {"algorithm": "quantization", "bits": "nonsense"}
    for config in ({}, {"compression": other}, {"compression": [other, 3]}):
        assert find_slb_sections(config) == []
        validate_nncf_config(config)


def test_sections_are_found_with_their_paths():
    ours, other = section(), {"algorithm": "quantization"}
    assert find_slb_sections({"compression": ours}) == [("compression", ours)]
    assert find_slb_sections({"compression": [other, ours]}) == [("compression[1]", ours)]


def test_whole_config_is_checked_with_paths_into_the_list():
    with pytest.raises(ConfigError, match=r"compression\[1\]\.weights\.bits: received 8"):
        validate_nncf_config({"compression": [{"algorithm": "quantization"}, weights(bits=8)]})


def test_two_sections_are_refused_along_with_their_mistakes():
    with pytest.raises(ConfigError, match="2 problems") as caught:
        validate_nncf_config({"compression": [section(), weights(bits=8)]})
    assert 'compression[1]: received a second "slb" section' in caught.value.problems[0]
    assert "compression[1].weights.bits: received 8" in caught.value.problems[1]


def test_fractions_are_compared_with_the_epochs_of_the_whole_config():
    config = {"compression": params(start_epoch=10)}
    with pytest.raises(ConfigError, match="params.start_epoch: received 10.*from epoch 10 to 8.5 of 10"):
        validate_nncf_config({**config, "epochs": 10})
    validate_nncf_config({**config, "epochs": 20})


def test_a_search_that_training_never_ends_is_refused_where_the_epochs_are_known():
    config = {"compression": params(end_epoch=150)}
    with pytest.raises(ConfigError, match="params.end_epoch: received 150; allowed: a time before epoch 100, of 100"):
        validate_nncf_config({**config, "epochs": 100})
    validate_nncf_config({**config, "epochs": 200})
    validate_nncf_config(config)


@pytest.mark.parametrize("device", ["GPU", "NPU", "ANY"])
def test_bytes_are_refused_where_every_code_takes_4_bits(device):
    config = {"compression": auto(budget={"bytes": 22000}), "target_device": device}
    with pytest.raises(ConfigError, match=f"weights.budget.bytes: received 22000; .*target_device {device}"):
        validate_nncf_config(config)
    validate_nncf_config({**config, "target_device": "CPU"})
    validate_nncf_config({**config, "compression": auto()})
