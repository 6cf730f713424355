"""Keys outside `compression`: they are NNCF's, and what NNCF leaves to other programs is left to them."""

import pytest
from nncf import NNCFConfig
from nncf.config.schema import NNCF_CONFIG_SCHEMA

from nncf_slb.config.outside import TopLevelConfig, outside_problems
from nncf_slb.config.section import total_epochs, validate_nncf_config
from nncf_slb.config.training import DEFAULT_EPOCHS
from nncf_slb.hosts.config_check import config_problems

SLB = {"compression": {"algorithm": "slb"}}


def test_every_key_of_nncfs_schema_is_known():
    assert set(NNCF_CONFIG_SCHEMA["properties"]) <= set(TopLevelConfig.model_fields)
    devices = NNCF_CONFIG_SCHEMA["properties"]["target_device"]["enum"]
    assert not any(outside_problems({"target_device": device}) for device in devices)


@pytest.mark.parametrize("epochs", ["ten", "20", 0, -1, 2.5, True, None, [3], {}, float("nan"), float("inf")])
def test_epochs_of_another_program_do_not_raise(epochs):
    config = {**SLB, "epochs": epochs}
    validate_nncf_config(config)
    NNCFConfig.from_dict(config)
    assert total_epochs(config) == DEFAULT_EPOCHS


def test_epochs_of_training_count():
    assert total_epochs({"epochs": 7}) == total_epochs({"epochs": 7.0}) == 7


def test_inputs_may_be_several():
    inputs = [{"sample_size": [1, 3]}, {"sample_size": [1, 4], "type": "long", "keyword": "mask", "filler": "random"}]
    assert config_problems({**SLB, "input_info": inputs}) == []
    (problem,) = config_problems({**SLB, "input_info": [inputs[0], {"sample_size": [1, "x"]}]})
    assert problem.startswith('input_info[1].sample_size: received [1, "x"]')


def test_the_algorithms_of_nncf_are_checked_by_its_schema():
    sections = [
        {"algorithm": "quantization", "weights": {"bitz": 8}},
        {"algorithm": "magnitude_sparsity", "params": []},
    ]
    first, second = config_problems({"compression": sections})
    assert first.startswith("compression[0].weights.bitz: ") and first.endswith("did you mean bits?")
    assert second.startswith("compression[1].params: received []; allowed: an object")
