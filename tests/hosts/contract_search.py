"""What a training does in every host, from creation to export and resuming."""

import copy
import io
import re

import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.config.errors import ConfigError
from nncf_slb.openvino.low_bit_model import ExportError
from nncf_slb.openvino.network import IrNetwork
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.searchable import searchable_weights
from tests.hosts.subjects import (
    EPOCHS,
    EXACT,
    IMAGES,
    LABELS,
    HostTests,
    Unexportable,
    batches,
    codes,
    feature,
    network,
    outputs,
    settings,
    train,
)


class SearchContract(HostTests):
    """What a training does in every host, from creation to export and resuming."""

    @feature("scheduler, stages, statistics")
    def test_a_training_ends_with_discrete_weights_and_says_where_it_is(self):
        ctrl, model = self.create()
        assert ctrl.compression_stage() == 0 and ctrl.scheduler.inverse_temperature == 1.0
        train(ctrl, model, epochs=2)
        assert ctrl.compression_stage() == 1 and 1 < ctrl.scheduler.inverse_temperature < 20
        train(ctrl, model, epochs=1)
        assert ctrl.compression_stage() == 2 and ctrl.scheduler.inverse_temperature == 20
        statistics = ctrl.statistics().slb
        assert self.layer_names(ctrl) == [self.scope(x) for x in ("stem", "left", "right", "mix", "head")]
        assert all(layer.bits == 2 and abs(sum(layer.histogram) - 1) < 1e-6 for layer in statistics.layers)
        assert "5 layers searched" in ctrl.statistics().to_str()
        assert float(ctrl.loss()) == 0

    @feature("training learns")
    def test_the_discrete_network_classifies_digits(self):
        ctrl, model = self.create(config={**settings(), "epochs": 12})
        train(ctrl, model, epochs=12)
        predicted = outputs(ctrl.strip()).argmax(1)
        assert (predicted == LABELS[300:400]).float().mean() > 0.75

    @feature("strip and export, exact")
    @pytest.mark.parametrize("weights", [{"bits": 1}, {"bits": 2}, {"bits": 4, "scale": "per_channel_fixed"}])
    @pytest.mark.parametrize("descent", ["mirror", "gradient"])
    def test_what_is_stripped_and_exported_gives_the_outputs_of_training_s_evaluation(self, weights, descent, tmp_path):
        ctrl, model = self.create(config=settings(weights=weights, params={"descent": descent}))
        train(ctrl, model)
        expected = outputs(model)
        stripped = ctrl.strip()
        assert torch.allclose(outputs(stripped), expected, atol=1e-6)
        assert not searchable_weights(stripped) and len(codes(stripped)) == 5
        ctrl.export_model(str(tmp_path / "m.xml"))
        exported = IrNetwork(tmp_path / "m.xml", properties=EXACT)(IMAGES[300:400])
        assert torch.allclose(exported, expected, atol=1e-5)
        assert f"u{weights['bits']}" in nncf_slb.inspect_openvino(tmp_path / "m.xml").to_str()
        assert torch.equal(outputs(model), expected)  # neither has changed the network

    @feature("quantized inputs")
    @pytest.mark.parametrize("bits", [1, 4, 8])
    def test_layers_that_read_one_tensor_share_a_quantizer_and_the_ir_is_exact(self, bits, tmp_path):
        scopes = [self.scope("stem"), self.scope("head")]
        ctrl, model = self.create(config=settings(activations={"bits": bits}, ignored_scopes=scopes))
        quantizers = {id(m) for m in model.modules() if isinstance(m, ActivationQuantizer)}
        assert len(quantizers) == 2  # of what left and right read, and of what mix reads
        train(ctrl, model)
        expected = outputs(model)
        ctrl.export_model(str(tmp_path / "m.xml"))
        exported = IrNetwork(tmp_path / "m.xml", properties=EXACT)(IMAGES[300:400])
        assert torch.allclose(exported, expected, atol=1e-4)
        assert torch.allclose(outputs(ctrl.strip()), expected, atol=1e-6)

    @feature("resume, same bits")
    def test_a_resumed_training_has_the_bits_of_one_that_was_not_interrupted(self):
        ctrl, model = self.create()
        optimizer = train(ctrl, model, epochs=1)
        search = ctrl.get_compression_state()
        file = io.BytesIO()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "search": search}, file)
        train(ctrl, model, epochs=2, optimizer=optimizer)

        file.seek(0)
        with torch.serialization.safe_globals(self.checkpoint_types()):
            kept = torch.load(file, weights_only=True)
        again, restored = self.create(network(seed=1), compression_state=kept["search"])
        restored.load_state_dict(kept["model"])
        optimizer = torch.optim.Adam(restored.parameters(), 0.01)
        optimizer.load_state_dict(kept["optimizer"])
        train(again, restored, epochs=2, optimizer=optimizer)
        assert torch.equal(outputs(restored), outputs(model))
        assert again.compression_stage() == ctrl.compression_stage()

    @feature("searched network in evaluation")
    def test_the_expected_weights_can_be_evaluated(self):
        ctrl, model = self.create()
        train(ctrl, model, epochs=1)
        discrete = outputs(model)
        with nncf_slb.searched_network(ctrl) as searched:
            expected = outputs(searched)
        assert not torch.allclose(expected, discrete) and torch.equal(outputs(model), discrete)

    @feature("a dry export before training")
    def test_what_openvino_cannot_take_is_an_error_before_training(self):
        with pytest.raises(ExportError, match="tried before the search"):
            self.create(Unexportable(), settings(openvino={}))

    @feature("codes of gradient descent are final at the end")
    @pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
    def test_nothing_moves_final_codes(self, kind):
        ctrl, model = self.create(config=settings(params={"descent": "gradient"}))
        extra = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        optimizer = kind(model.parameters(), 0.05, weight_decay=0.1, **extra)
        train(ctrl, model, optimizer=optimizer)
        assert ctrl.compression_stage() == 2
        expected = codes(ctrl.strip())
        for images, labels in batches() * 3:
            optimizer.zero_grad(set_to_none=False)
            nn.functional.cross_entropy(model.train()(images), labels).backward()
            optimizer.step()
        assert all(torch.equal(found, expected[name]) for name, found in codes(ctrl.strip()).items())

    @feature("first and last layers apart")
    @pytest.mark.parametrize(("edges", "searched"), [("float", 3), (8, 3)])
    def test_first_and_last_layers_get_what_edges_says(self, edges, searched, tmp_path):
        ctrl, model = self.create(config=settings(weights={"bits": 2, "edges": edges}))
        train(ctrl, model, epochs=1)
        assert self.layer_names(ctrl) == [self.scope(name) for name in ("left", "right", "mix")]
        assert len(ctrl.statistics().slb.eight_bit_layers) == (2 if edges == 8 else 0)
        assert len(codes(ctrl.strip())) == (5 if edges == 8 else searched)
        expected = outputs(model)
        ctrl.export_model(str(tmp_path / "m.xml"))
        assert torch.allclose(IrNetwork(tmp_path / "m.xml", properties=EXACT)(IMAGES[300:400]), expected, atol=1e-5)

    @feature('bits "auto" within a budget')
    @pytest.mark.parametrize("budget", [{"mean_bits": 2.0}, {"bytes": 2100}])
    def test_bits_are_chosen_within_a_budget_and_kept_in_the_state(self, budget, tmp_path):
        config = settings(weights={"bits": "auto", "budget": budget})
        ctrl, model = self.create(config=config)
        chosen = {layer.name: layer.bits for layer in ctrl.statistics().slb.layers}
        train(ctrl, model, epochs=1)
        ctrl.export_model(str(tmp_path / "m.xml"))
        if "bytes" in budget:
            assert (tmp_path / "m.bin").stat().st_size <= budget["bytes"]
        else:
            assert ctrl.statistics().slb.mean_bits <= 2.0
        again, _ = self.create(network(1), config, compression_state=ctrl.get_compression_state())
        assert {layer.name: layer.bits for layer in again.statistics().slb.layers} == chosen

    @feature("state of another host")
    def test_a_state_with_the_names_of_another_host_says_the_same(self):
        config = settings(weights={"bits": "auto", "budget": {"mean_bits": 2.0}})
        ctrl, _ = self.create(config=config)
        chosen = {layer.name: layer.bits for layer in ctrl.statistics().slb.layers}
        state = copy.deepcopy(ctrl.get_compression_state())
        parts = state["builder_state"]["slb"]
        for key in ("bits", "sensitivities"):
            parts[key] = {self.name_elsewhere(name): value for name, value in parts[key].items()}
        again, _ = self.create(network(1), config, compression_state=state)
        assert {layer.name: layer.bits for layer in again.statistics().slb.layers} == chosen
        del parts["bits"][self.name_elsewhere(self.scope("mix"))]
        with pytest.raises(ConfigError, match=r"compression state without bits for .*mix"):
            self.create(network(1), config, compression_state=state)

    @feature("float weights loaded later are a new start")
    @pytest.mark.parametrize("descent", ["mirror", "gradient"])
    def test_float_weights_that_are_loaded_afterwards_are_a_new_start(self, descent, caplog):
        config = settings(params={"descent": descent}, initializer={"batchnorm_adaptation": None})
        other = network(seed=7)
        expected = codes(self.create(copy.deepcopy(other), config)[0].strip())
        ctrl, model = self.create(config=config)
        model.load_state_dict(other.state_dict(), strict=False)
        found = codes(ctrl.strip())
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert "the search begins anew at them" in caplog.text
        caplog.clear()
        kept = copy.deepcopy(model.state_dict())
        model.load_state_dict(kept)
        assert "begins anew" not in caplog.text

    @feature("state of other settings refused")
    @pytest.mark.parametrize(
        ("other", "setting"),
        [
            ({"weights": {"values": [-1, 0, 1, 3]}}, "values"),
            ({"initializer": {"sharpness": 5.0}}, "sharpness"),
            ({"weights": {"bits": 1}}, "bits"),
        ],
    )
    def test_a_state_whose_numbers_would_mean_others_is_refused(self, other, setting):
        ctrl, _ = self.create()
        with pytest.raises(ConfigError, match=rf"{setting}.*left"):
            self.create(network(1), settings(**other), compression_state=ctrl.get_compression_state())

    def test_an_export_before_the_search_is_over_says_so(self, tmp_path, caplog):
        ctrl, model = self.create()
        ctrl.export_model(str(tmp_path / "untrained.xml"))
        assert "exported" not in caplog.text
        optimizer = train(ctrl, model, epochs=1)
        ctrl.export_model(str(tmp_path / "early.xml"))
        assert re.search(r"at epoch 0\.\d+ 1/tau is .* and reaches 20 at epoch 2\.55", caplog.text)
        caplog.clear()
        train(ctrl, model, epochs=EPOCHS - 1, optimizer=optimizer)
        ctrl.export_model(str(tmp_path / "done.xml"))
        assert "exported" not in caplog.text

    def test_an_export_after_a_training_without_the_scheduler_says_so(self, tmp_path, caplog):
        ctrl, model = self.create()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for images, labels in batches()[:3]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        ctrl.export_model(str(tmp_path / "m.xml"))
        assert "ctrl.scheduler.epoch_step() before each epoch" in caplog.text

    def test_an_epoch_in_evaluation_mode_is_said_to_search_nothing(self, caplog):
        ctrl, model = self.create()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(2):
            ctrl.scheduler.epoch_step()
            model.eval()
            for images, labels in batches()[:2]:
                ctrl.scheduler.step()
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
        assert "Call model.train() before each epoch" in caplog.text
        caplog.clear()
        train(*self.create(), epochs=2)
        assert "model.train()" not in caplog.text
