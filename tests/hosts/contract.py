"""What every host must do: one class of tests that each host's own module derives from.

A test that stands for a row of the docs' table of features carries the feature's name (`feature`).
"""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.config.errors import ConfigError
from nncf_slb.errors import SettingError
from nncf_slb.hosts.model_checks import ModelError
from nncf_slb.hosts.torch.planning import NothingToSearchError
from nncf_slb.openvino.network import IrNetwork
from tests.hosts.contract_creation import CreationContract
from tests.hosts.contract_refusals import RefusalContract
from tests.hosts.contract_search import SearchContract
from tests.hosts.contract_training import TrainingContract
from tests.hosts.subjects import (
    EXACT,
    IMAGES,
    Functional,
    Residual,
    Tied,
    codes,
    feature,
    network,
    outputs,
    settings,
    train,
)


class HostContract(SearchContract, CreationContract, TrainingContract, RefusalContract):
    """All of it."""


class PlainHostContract(HostContract):
    """What hosts without NNCF's builders do beyond that."""

    @feature("weights that functions use, attention")
    def test_weights_of_functions_and_of_attention_are_searched_and_packed(self, tmp_path):
        torch.manual_seed(0)
        ctrl, model = self.create(Functional())
        assert self.layer_names(ctrl) == [
            "stem", "head", "kernel", "attention.in_proj_weight", "attention.out_proj.weight"
        ]  # fmt: skip
        train(ctrl, model, epochs=1)
        expected = outputs(model)
        stripped = ctrl.strip()
        assert torch.allclose(outputs(stripped), expected, atol=1e-6)
        assert torch.equal(outputs(copy.deepcopy(stripped)), outputs(stripped))
        ctrl.export_model(str(tmp_path / "m.xml"))
        assert torch.allclose(IrNetwork(tmp_path / "m.xml", properties=EXACT)(IMAGES[300:400]), expected, atol=1e-5)
        types = [layer.stored for layer in nncf_slb.inspect_openvino(tmp_path / "m.xml").layers]
        assert set(types) == {"u2"}

    @feature("tied weights")
    def test_tied_layers_keep_one_weight(self):
        model = network()
        model.right.weight = nn.Parameter(torch.randn(12, 8, 1, 1))
        model.twin = nn.Conv2d(8, 12, 1, stride=2)
        model.twin.weight = model.right.weight
        model = Tied(model)
        ctrl, model = self.create(model)
        train(ctrl, model, epochs=1)
        stripped = ctrl.strip()
        found = codes(stripped)
        assert torch.equal(found["inner.right"], found["inner.twin"])
        assert torch.allclose(outputs(stripped), outputs(model), atol=1e-6)

    def test_a_state_dict_of_other_weights_is_refused_by_pytorch(self):
        _, model = self.create()
        with pytest.raises(RuntimeError, match="Missing key"):
            model.load_state_dict(network().state_dict())

    @pytest.mark.parametrize(
        ("wrong", "kind", "message"),
        [
            ({"config": 3}, SettingError, "config: received int"),
            ({"config": "missing.json"}, SettingError, "does not exist"),
            ({"config": {"compression": {"algorithm": "magnitude_sparsity"}}}, ConfigError, "allowed with the host"),
            ({"config": {"compression": {"algorithm": "quantization"}}}, ConfigError, 'no "slb" section'),
            ({"compression_state": {"a": 1}}, SettingError, "compression_state"),
            ({"model": nn.ReLU()}, (NothingToSearchError, ConfigError), "no layer"),
            ({"model": 3}, ModelError, "model: received int"),
        ],
    )  # fmt: skip
    def test_wrong_arguments_are_named(self, wrong, kind, message):
        with pytest.raises(kind, match=message):
            self.create(**wrong)

    def test_a_failed_creation_leaves_the_network_as_it_was(self):
        model = network()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ConfigError):
            self.create(model, settings(ignored_scopes=["nothing"]))
        assert list(model.state_dict()) == list(before) and type(model) is Residual
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    @pytest.mark.parametrize("name", ["file", "dictionary"])
    def test_a_config_may_be_a_file(self, name, tmp_path):
        config = settings(weights={"bits": 1})
        if name == "file":
            path = Path(tmp_path / "config.json")
            path.write_text(json.dumps(config))
            config = path
        ctrl, _ = self.create(config=config)
        assert {layer.bits for layer in ctrl.statistics().slb.layers} == {1}
