"""The host `nncf3`: NNCF's function hooks."""

import json

import pytest
import torch

from nncf_slb.hosts.installed import has_function_hooks

if not has_function_hooks():
    pytest.skip("NNCF 3 is not installed: make test runs these in an environment of their own", allow_module_level=True)

import nncf
import nncf.torch
from torch import nn

import nncf_slb
from nncf_slb.hosts.model_checks import ModelError
from nncf_slb.openvino.network import IrNetwork
from tests.hosts.contract import PlainHostContract
from tests.hosts.subjects import EXACT, IMAGES, batches, network, outputs, settings, train

QUANTIZATION = {"algorithm": "quantization"}


class TestNNCF3(PlainHostContract):
    host = "nncf3"

    @pytest.mark.parametrize("own", [False, True], ids=["from the config", "by nncf.quantize before"])
    def test_8_bit_quantization_beside_the_search_runs_on_integer_kernels(self, own, tmp_path):
        model = network()
        if own:
            data = nncf.Dataset([images for images, _ in batches()])
            model = nncf.quantize(model, data, fast_bias_correction=True)
        config = settings([] if own else [QUANTIZATION], weights={"edges": "float"})
        ctrl, model = self.create(model, config)
        train(ctrl, model)
        expected = outputs(model)
        assert torch.allclose(outputs(ctrl.strip()), expected, atol=1e-4)
        ctrl.export_model(str(tmp_path / "m.xml"))
        exported = IrNetwork(tmp_path / "m.xml", properties=EXACT)(IMAGES[300:400])
        assert (exported.argmax(1) == expected.argmax(1)).float().mean() > 0.95
        layers = {layer.name: layer for layer in nncf_slb.inspect_openvino(tmp_path / "m.xml").layers}
        assert {name for name, layer in layers.items() if layer.stored == "u2"} == {"left", "right", "mix"}
        assert all(layer.precision in ("i8", "u8") for layer in layers.values())

    def test_layers_that_quantization_is_told_to_leave_stay_in_float(self, tmp_path):
        config = settings([{**QUANTIZATION, "ignored_scopes": ["stem", "{re}^head$"]}], weights={"edges": "float"})
        ctrl, _ = self.create(config=config)
        ctrl.export_model(str(tmp_path / "m.xml"))
        stored = [layer.stored for layer in nncf_slb.inspect_openvino(tmp_path / "m.xml").layers]
        assert sorted(stored) == ["f32", "f32", "u2", "u2", "u2", "u2"]  # one layer is used twice

    @pytest.mark.parametrize(
        ("quantization", "message"),
        [
            ({"mode": "asymmetric"}, "mode"),
            ({"weights": {"bits": 4}}, r"weights\.bits: received 4"),
            ({"activations": {"bits": 4}}, r"activations\.bits: received 4"),
        ],
    )
    def test_what_post_training_quantization_has_not_is_an_error(self, quantization, message):
        with pytest.raises(nncf_slb.ConfigError, match=message):
            self.create(config=settings([{**QUANTIZATION, **quantization}]))

    def test_two_quantizations_of_inputs_are_an_error(self):
        with pytest.raises(nncf_slb.ConfigError, match="quantizes the same inputs"):
            self.create(config=settings([QUANTIZATION], activations={"bits": 4}))

    @pytest.mark.parametrize("slb", [{"weights": {"edges": 8}}, {"activations": {"bits": 8}}, {}], ids=str)
    def test_nncf_s_own_config_carries_a_search(self, slb):
        ctrl, model = self.create(config=settings(**slb))
        train(ctrl, model, epochs=1)
        expected = outputs(model)
        kept = json.loads(json.dumps(nncf.torch.get_config(model)))
        restored = nncf.torch.load_from_config(network(1), kept, allowed_modules=("nncf.*", "nncf_slb.*"))
        restored.load_state_dict(model.state_dict())
        assert torch.allclose(outputs(restored), expected, atol=1e-6)

    def test_a_network_that_hooks_cannot_name_goes_to_another_host(self):
        model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
        with pytest.raises(ModelError, match=r"nn\.Sequential itself"):
            self.create(model)
        ctrl, _ = nncf_slb.create_compressed_model(model, settings(), batches())
        assert ctrl.host == "torch"

    def test_a_network_with_hooks_goes_to_this_host_and_to_no_other(self):
        model = nncf.torch.function_hook.wrap_model(network())
        with pytest.raises(ModelError, match="Use the host nncf3"):
            nncf_slb.create_compressed_model(model, settings(), batches(), host="torch")
        assert nncf_slb.create_compressed_model(model, settings(), batches())[0].host == "nncf3"

    def test_a_network_that_nncf_cannot_trace_is_searched_where_no_graph_is_needed(self, tmp_path):
        class ByName(type(network())):
            def forward(self, x):
                conv = self.stem
                x = nn.functional.conv2d(input=x, weight=conv.weight, padding=1)
                return super().forward(x[:, :1])

        ctrl, model = self.create(ByName())
        train(ctrl, model, epochs=1)
        assert torch.allclose(outputs(ctrl.strip()), outputs(model), atol=1e-6)
        with pytest.raises(ModelError, match="Use the host torch"):
            self.create(ByName(), settings(activations={"bits": 8}))
