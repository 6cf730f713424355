"""What every host must do: one class of tests that each host's own module derives from.

A test that stands for a row of the docs' table of features carries the feature's name (`feature`).
"""

import copy
import io
import json
import re
from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import nncf_slb
from nncf_slb.config.errors import ConfigError
from nncf_slb.errors import DataError, SettingError, SLBError
from nncf_slb.hosts.model_checks import ModelError
from nncf_slb.hosts.torch.planning import NothingToSearchError
from nncf_slb.openvino.low_bit_model import ExportError
from nncf_slb.openvino.network import IrNetwork
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.finite import NotFiniteError
from nncf_slb.search.runtime import CodedWeight
from nncf_slb.search.searchable import searchable_weights
from nncf_slb.search.unlabeled import Unlabeled

EPOCHS = 3
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
_IMAGES, _LABELS = load_digits(return_X_y=True)
IMAGES = torch.from_numpy(_IMAGES.reshape(-1, 1, 8, 8).astype(np.float32) / 8 - 1)[:600]
LABELS = torch.from_numpy(_LABELS)[:600]


def feature(name):
    """Mark a test as what the docs promise under a name."""

    def mark(function):
        function.feature = name
        return function

    return mark


class Residual(nn.Module):
    """Two layers that read one tensor, a sum, batch norm, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.right = nn.Conv2d(8, 12, 1, stride=2)
        self.mix = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.last_norm = nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.left(x) + self.right(x))
        x = torch.relu(self.mix(self.mix(x)))
        return self.head(self.last_norm(x).mean((2, 3)))


def network(seed=0):
    torch.manual_seed(seed)
    return Residual()


def batches(size=50):
    return [(IMAGES[i : i + size], LABELS[i : i + size]) for i in range(0, 300, size)]


def settings(others=(), **slb):
    slb.setdefault("openvino", {"dry_export": False})
    return {
        "epochs": EPOCHS,
        "input_info": {"sample_size": [1, 1, 8, 8]},
        "compression": [{"algorithm": "slb", **slb}, *others] if others else {"algorithm": "slb", **slb},
    }


def train(ctrl, model, epochs=EPOCHS, optimizer=None, data=None):
    """Train on the digits; the optimizer, for going on with it."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(epochs):
        ctrl.scheduler.epoch_step()
        model.train()
        for images, labels in data or batches():
            ctrl.scheduler.step()
            optimizer.zero_grad()
            (nn.functional.cross_entropy(model(images), labels) + ctrl.loss()).backward()
            optimizer.step()
    return optimizer


def outputs(model):
    model.eval()
    with torch.no_grad():
        return model(IMAGES[300:400])


def codes(stripped):
    return {name: module.codes for name, module in stripped.named_modules() if isinstance(module, CodedWeight)}


class NoBatchNorm(nn.Module):
    """What it gives for a sample does not depend on the other samples of a batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Linear(72, 10)

    def forward(self, x):
        return self.head(self.body(x))


class Encoder(nn.Module):
    """Layers that PyTorch runs as one operation in evaluation without gradients."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(8, 16)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True), 2)
        self.last = nn.Linear(16, 10)

    def forward(self, x):
        return self.last(self.encoder(self.first(x)).mean(1))


def way_to_train(make_optimizer, parts=1, clip=None, memory_format=torch.contiguous_format):
    """A training of two epochs; each batch in `parts`, whose gradients are added up."""

    def run(ctrl, model):
        model = model.to(memory_format=memory_format)
        optimizer = make_optimizer(model.parameters())
        for _ in range(2):
            ctrl.scheduler.epoch_step()
            model.train()
            for images, labels in batches():
                ctrl.scheduler.step()
                optimizer.zero_grad()
                for x, y in zip(images.chunk(parts), labels.chunk(parts), strict=True):
                    outputs = model(x.to(memory_format=memory_format))
                    (nn.functional.cross_entropy(outputs, y) / parts + ctrl.loss()).backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()

    return run


def sgd(**others):
    return lambda parameters: torch.optim.SGD(parameters, 0.05, momentum=0.9, **others)


def adam(**others):
    return lambda parameters: torch.optim.Adam(parameters, 0.005, **others)


# The plain loop, and another one that comes to the same.
WAYS = {
    "accumulation": (way_to_train(sgd()), way_to_train(sgd(), parts=2)),
    "clipping": (way_to_train(sgd()), way_to_train(sgd(), clip=1e6)),
    "clipping a lot": (way_to_train(sgd(), clip=0.1), way_to_train(sgd(), parts=5, clip=0.1)),
    "channels last": (way_to_train(adam()), way_to_train(adam(), memory_format=torch.channels_last)),
    "fused Adam": (way_to_train(adam(foreach=False)), way_to_train(adam(fused=True))),
    "foreach Adam": (way_to_train(adam(foreach=False)), way_to_train(adam(foreach=True))),
    "fused SGD": (way_to_train(sgd(foreach=False)), way_to_train(sgd(fused=True))),
    "Nesterov": (way_to_train(sgd(nesterov=True, foreach=False)), way_to_train(sgd(nesterov=True, foreach=True))),
}


class HostContract:
    """Tests of one host.

    Attributes:
        host: Its name.
    """

    host = ""

    def create(self, model=None, config=None, loader=None, **others):
        model = network() if model is None else model
        return nncf_slb.create_compressed_model(
            model, settings() if config is None else config, batches() if loader is None else loader, host=self.host,
            **others,
        )  # fmt: skip

    def scope(self, layer):
        """This host's name of a layer, to write in a config."""
        return layer

    def layer_names(self, ctrl):
        return [layer.name for layer in ctrl.statistics().slb.layers]

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

    def checkpoint_types(self):
        return []

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

    def name_elsewhere(self, name):
        return f"Residual/NNCFConv2d[{name}]/conv2d_0"

    @feature("search without labels at creation")
    def test_a_search_without_labels_gives_a_network_to_export_at_once(self):
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(8):
            for images, labels in batches():
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
        wanted = outputs(model).argmax(1)
        agreement = {}
        for steps in (1, 60):
            images = {"num_samples": 200, "steps": steps}
            searching = settings(weights={"bits": 1}, initializer={"reconstruction": images})
            ctrl, _ = self.create(copy.deepcopy(model), searching)
            agreement[steps] = (outputs(ctrl.strip()).argmax(1) == wanted).float().mean()
        assert agreement[60] > agreement[1]

    def test_a_stated_adaptation_of_batch_norm_needs_a_loader(self):
        stated = {"batchnorm_adaptation": {"num_bn_adaptation_samples": 50}}
        with pytest.raises(ConfigError, match="initializer.batchnorm_adaptation: received .*without a data loader"):
            nncf_slb.create_compressed_model(network(), settings(initializer=stated), host=self.host)
        for allowed in ({}, {"batchnorm_adaptation": {"num_bn_adaptation_samples": 0}}):
            nncf_slb.create_compressed_model(network(), settings(initializer=allowed), host=self.host)

    def test_after_a_search_without_labels_batch_norm_is_matched_to_the_float_network(self):
        model, found = network(), {}
        for images, _ in batches():
            model.train()(1 + images)  # its running statistics are of other images
        searching = {"reconstruction": {"num_samples": 300, "steps": 5}}
        wanted = copy.deepcopy(model).eval()
        ctrl, _ = self.create(model, settings(weights={"bits": 1}, initializer=searching))
        for each in (wanted, ctrl.strip().eval()):
            of_norms = {}
            for path in ("norm", "last_norm"):
                each.get_submodule(path).register_forward_hook(lambda *a, p=path, o=of_norms: o.update({p: a[2]}))
            with torch.no_grad():
                each(IMAGES[:300])
            found[each] = {p: torch.stack(torch.var_mean(x, (0, 2, 3))) for p, x in of_norms.items()}
        for path, moments in found[wanted].items():
            torch.testing.assert_close(found[each][path], moments, rtol=0.02, atol=0.02)

    @pytest.mark.parametrize("searched_first", [False, True])
    def test_statistics_at_creation_are_those_of_the_discrete_network(self, searched_first):
        model = network().eval()
        searching = {"batchnorm_adaptation": {"num_bn_adaptation_samples": 300}}  # stated, so after a search too
        searching |= {"reconstruction": {"num_samples": 200, "steps": 5}} if searched_first else {}
        ctrl, _ = self.create(model, settings(weights={"bits": 1}, initializer=searching))
        stripped = ctrl.strip().eval()
        measured = copy.deepcopy(stripped)
        norms = {path: m for path, m in measured.named_modules() if isinstance(m, nn.BatchNorm2d)}
        for norm in norms.values():
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        with torch.no_grad():
            for images, _ in batches():
                measured(images)
        assert len(norms) == 2
        for path, norm in norms.items():
            kept = stripped.get_submodule(path)
            torch.testing.assert_close(kept.running_mean, norm.running_mean, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(kept.running_var, norm.running_var, rtol=1e-3, atol=1e-4)

    def test_encoder_layers_compute_the_same_in_evaluation(self):
        data = DataLoader(TensorDataset(IMAGES.view(-1, 8, 8), LABELS), 50)
        config = settings(weights={"bits": 2, "edges": 8}, activations={"bits": 2})
        config["input_info"]["sample_size"] = [1, 8, 8]
        ctrl, model = self.create(Encoder(), config, data)
        train(ctrl, model, 1, data=data)
        for each in (model.eval(), ctrl.strip().eval()):
            with_gradients = each(IMAGES[:20].view(-1, 8, 8)).detach()
            with torch.no_grad():
                torch.testing.assert_close(each(IMAGES[:20].view(-1, 8, 8)), with_gradients)

    @feature("search without labels at creation")
    def test_steps_of_a_search_without_labels_fit_into_memory(self, monkeypatch):
        sizes, shuffled = [], Unlabeled.shuffled

        def noted(samples, size, numbers):
            sizes.append(size)
            return shuffled(samples, size, numbers)

        monkeypatch.setattr(Unlabeled, "shuffled", noted)
        for memory, more in ((2**18, {}), (2**19, {}), (2**30, {"batch_size": 24})):
            monkeypatch.setattr("nncf_slb.search.batches._BYTES", memory)
            images = {"num_samples": 200, "steps": 1, **more}
            self.create(config=settings(initializer={"reconstruction": images}))
        small, twice, stated = sizes
        assert 2 < small < 100 and twice // 2 == small and stated == 24, sizes

    @feature("distillation")
    @pytest.mark.parametrize("kind", ["softmax", "mse"])
    def test_the_float_network_teaches(self, kind):
        teacher = {"algorithm": "knowledge_distillation", "type": kind, "scale": 2.0}
        teacher |= {"temperature": 3.0} if kind == "softmax" else {}
        float_network = network()
        wanted = copy.deepcopy(float_network).train()(batches()[0][0]).detach()
        ctrl, model = self.create(float_network, settings([teacher]))
        ctrl.scheduler.epoch_step()
        ctrl.scheduler.step()
        given = model.train()(batches()[0][0])
        if kind == "mse":
            expected = 2.0 * nn.functional.mse_loss(given, wanted)
        else:
            expected = -2.0 * 9.0 * ((given / 3).log_softmax(1) * (wanted / 3).softmax(1)).sum(1).mean()
        loss = ctrl.loss()
        assert torch.allclose(loss, expected, rtol=1e-5)
        loss.backward()
        assert all(weight.searched.grad.abs().sum() > 0 for weight in searchable_weights(model))

    @feature("modes and random numbers stay")
    def test_creation_leaves_mode_and_random_numbers_as_they_are(self):
        model = network().eval()
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        _, model = self.create(model)
        assert torch.equal(torch.rand(3), expected)
        assert not model.training and not any(m.training for m in model.modules())

    @feature("deep copies")
    def test_a_copy_gives_the_same_outputs_and_goes_its_own_way(self):
        ctrl, model = self.create()
        train(ctrl, model, epochs=1)
        expected = outputs(model)
        duplicate = copy.deepcopy(model)
        train(ctrl, model, epochs=1)
        assert torch.equal(outputs(duplicate), expected) and not torch.equal(outputs(model), expected)

    @feature("averages of the network (`AveragedModel`)")
    @pytest.mark.parametrize("batchnorm", ["calibrate", "state"])
    def test_copies_and_averages_evaluate_with_statistics_of_their_own_discrete_weights(self, batchnorm):
        ctrl, model = self.create(config=settings(params={"batchnorm": batchnorm}))
        average = AveragedModel(model, use_buffers=True)
        for _ in range(EPOCHS):
            train(ctrl, model, epochs=1)
            average.update_parameters(model)
        duplicate = copy.deepcopy(model)  # straight after training: its statistics are stale
        assert torch.allclose(outputs(duplicate), outputs(model), atol=1e-5)
        assert (outputs(average).argmax(1) == outputs(model).argmax(1)).float().mean() > 0.5

    @feature("trainers that wrap `forward`")
    def test_a_forward_that_a_trainer_has_wrapped_is_taken_off_for_export(self, tmp_path):
        ctrl, model = self.create()
        expected = outputs(model)
        model._original_forward = own = model.forward  # as accelerate does for mixed precision
        model.forward = MethodType(lambda self, x: torch.full((len(x), 10), float(own(x).mean())), model)
        stripped = ctrl.strip()
        assert torch.allclose(outputs(stripped), expected, atol=1e-6)
        ctrl.export_model(str(tmp_path / "m.xml"))
        assert torch.allclose(IrNetwork(tmp_path / "m.xml", properties=EXACT)(IMAGES[300:400]), expected, atol=1e-5)

    def test_the_older_name_of_the_npu_is_understood(self, tmp_path):
        others = [{"algorithm": "quantization", "weights": {"ignored_scopes": ["{re}.*"]}}]
        config = {**settings(others if self.host == "nncf2" else ()), "target_device": "VPU"}
        ctrl, _ = self.create(config=config, loader=DataLoader(TensorDataset(IMAGES, LABELS), batch_size=50))
        ctrl.export_model(str(tmp_path / "m.xml"))
        assert nncf_slb.inspect_openvino(tmp_path / "m.xml").target_device == "NPU"

    @feature("gradient accumulation, clipping, channels last, fused and foreach optimizers, Nesterov")
    @pytest.mark.parametrize("other", WAYS)
    def test_usual_ways_to_train_search_what_the_plain_loop_does(self, other):
        plain, usual = WAYS[other]
        searched = []
        for way in (plain, usual):
            ctrl, model = self.create(NoBatchNorm())
            way(ctrl, model)
            searched.append(outputs(ctrl.strip()))
            assert torch.allclose(searched[-1], outputs(model), atol=1e-5)
        assert torch.allclose(*searched, atol=2e-3)

    @feature("DDP, two processes")
    def test_two_processes_search_one_network_and_one_process_goes_on_with_it(self):
        from tests.hosts.distributed_search import found_by_two_processes, one_network

        modes = ["ddp", "ddp, static graph", "ddp, state batch norm", "ddp, bits chosen", "ddp, gradient descent"]
        searches = found_by_two_processes(self.host, *modes)
        for mode in modes:
            one_network(searches[mode])

    @feature("autocast")
    def test_bfloat16_autocast_trains_float32_latents(self):
        ctrl, model = self.create()
        ctrl.scheduler.epoch_step()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        before = {weight: weight.searched.clone() for weight in searchable_weights(model)}
        for images, labels in batches():
            ctrl.scheduler.step()
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(model.train()(images), labels)
            loss.backward()
            optimizer.step()
        assert all(w.searched.dtype == torch.float32 and not torch.equal(w.searched, b) for w, b in before.items())

    @pytest.mark.parametrize("name", ["nothing", "lef"])
    def test_a_scope_that_matches_nothing_is_an_error_with_a_suggestion(self, name):
        with pytest.raises(ConfigError, match=re.escape(self.scope("left") if name == "lef" else name)):
            self.create(config=settings(ignored_scopes=[name]))

    def test_a_scope_of_another_host_is_told_its_name_here(self):
        with pytest.raises(ConfigError) as caught:
            self.create(config=settings(ignored_scopes=[self.name_elsewhere(self.scope("left"))]))
        assert f'"{self.scope("left")}"' in str(caught.value)

    @pytest.mark.parametrize(("data", "message"), [([], "gives no batch"), ([1 / 3, None], "fails at the first batch")])
    def test_a_loader_that_gives_nothing_or_fails_is_an_error(self, data, message):
        def inputs(batch):
            return (batch[0],), {}

        with pytest.raises(DataError, match=message):
            self.create(loader=data, inputs=inputs)

    @feature("batches as dictionaries, loaders without length")
    def test_batches_may_be_dictionaries_from_a_loader_without_length(self):
        class Stream:
            batch_size = 50

            def __iter__(self):
                return iter([{"images": images, "labels": labels} for images, labels in batches()])

        ctrl, model = self.create(loader=Stream(), inputs=lambda batch: ((), {"x": batch["images"]}))
        train(ctrl, model, epochs=2)
        assert torch.allclose(outputs(ctrl.strip()), outputs(model), atol=1e-6)

    def test_all_problems_of_a_config_come_at_once(self):
        with pytest.raises((ConfigError, ValueError)) as caught:
            self.create(config=settings(weights={"bits": 9}, params={"schedule": "steep"}))
        assert "bits" in str(caught.value) and "schedule" in str(caught.value)

    def test_a_network_that_is_searched_already_is_refused(self):
        _, model = self.create()
        with pytest.raises(ModelError, match=r"searched already|NNCF 2\.19 has compressed"):
            self.create(model)

    def test_a_network_of_codes_is_refused(self):
        ctrl, _ = self.create()
        with pytest.raises(ModelError, match="codes already"):
            self.create(ctrl.strip())

    def test_a_wrapped_network_is_refused_with_what_to_pass(self):
        with pytest.raises(ModelError, match=r"model\.module"):
            self.create(nn.DataParallel(network()))

    def test_weights_that_are_not_finite_are_named(self):
        model = network()
        model.left.weight.data[0, 0, 0, 0] = torch.nan
        with pytest.raises(NotFiniteError, match="left"):
            self.create(model, settings(initializer={"batchnorm_adaptation": None}))[0].strip()

    def test_nothing_to_search_is_an_error(self):
        with pytest.raises(SLBError, match="layer to search"):
            self.create(config=settings(ignored_scopes=["{re}.*"]))


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


class Unexportable(Residual):
    """Ends in a function that OpenVINO does not know."""

    def forward(self, x):
        return torch.special.i1e(super().forward(x))


class Functional(nn.Module):
    """A convolution by function and attention, whose weights no layer runs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.kernel = nn.Parameter(torch.randn(8, 8, 1, 1) / 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = torch.relu(nn.functional.conv2d(torch.relu(self.stem(x)), self.kernel))
        x = x.flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x.mean(1))


class Tied(nn.Module):
    """Runs a `Residual` with a twin of its ``right``, which shares the weight."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        inner = self.inner
        x = torch.relu(inner.norm(inner.stem(x)))
        x = torch.relu(inner.left(x) + inner.right(x) - inner.twin(x * 0.5))
        return inner.head(inner.last_norm(x).mean((2, 3)))
