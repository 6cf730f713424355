"""What the creation of a compressed network does in every host: search without labels, batch norm, teachers."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nncf_slb
from nncf_slb.config.errors import ConfigError
from nncf_slb.search.searchable import searchable_weights
from nncf_slb.search.unlabeled import Unlabeled
from tests.hosts.subjects import (
    IMAGES,
    LABELS,
    Encoder,
    HostTests,
    batches,
    feature,
    network,
    outputs,
    settings,
    train,
)


class Keeping(type(network())):
    """Keeps a tensor of its last pass, as for a plot."""

    def forward(self, x):
        self.kept = super().forward(x)
        return self.kept * 1


class CreationContract(HostTests):
    """What the creation of a compressed network does in every host: search without labels, batch norm, teachers."""

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

    def test_a_network_that_keeps_a_tensor_of_its_pass_is_copied_and_stripped(self):
        model = network()
        model.__class__ = Keeping
        model.norm, model.last_norm = nn.Identity(), nn.Identity()  # their statistics would take another pass
        model(IMAGES[:10]).sum().backward()
        ctrl, compressed = self.create(model, settings(weights={"bits": 2}))
        train(ctrl, compressed, epochs=1)
        compressed.train()(IMAGES[:10])
        expected = outputs(ctrl.strip().eval())
        torch.testing.assert_close(outputs(copy.deepcopy(ctrl.strip()).eval()), expected)
        torch.testing.assert_close(outputs(compressed), expected, rtol=1e-4, atol=1e-5)

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

    @feature("search without labels at creation")
    def test_quantized_inputs_hold_what_matched_batch_norm_gives(self):
        model = network().eval()
        for norm in (model.norm, model.last_norm):
            norm.running_var.fill_(0.01)  # outputs are wider than with the statistics of a batch
        wanted = outputs(model)
        searching = settings(
            weights={"bits": 4, "edges": 8}, activations={"bits": 8},
            initializer={"reconstruction": {"num_samples": 200, "steps": 1}},
        )  # fmt: skip
        ctrl, _ = self.create(model, searching)
        error = outputs(ctrl.strip().eval()) - wanted
        assert error.square().mean() < 0.05 * wanted.var(0).mean(), error.square().mean() / wanted.var(0).mean()

    def test_first_and_last_layers_are_rounded_with_their_inputs(self):
        error = {}
        for searched in (False, True):
            ctrl, _ = self.create(network(), config=settings(
                weights={"bits": 2, "edges": 8}, activations={"bits": 8},
                initializer={"reconstruction": {"num_samples": 300, "steps": 1}} if searched else {},
            ))  # fmt: skip
            stripped, model, kept = ctrl.strip().eval(), network().eval(), {}
            for path in ("stem", "head"):
                layer = stripped.get_submodule(path)
                layer.register_forward_pre_hook(lambda _, args, path=path, kept=kept: kept.update({path: args[0]}))
            with torch.no_grad():
                stripped(IMAGES[:300])
                for path, x in kept.items():
                    layer = stripped.get_submodule(path)
                    assert int(layer.values.abs().max()) == 64  # sums of two products stay within 16 bits
                    wrong = torch.func.functional_call(model.get_submodule(path), {"weight": layer.weight}, x)
                    error[path, searched] = float((wrong - model.get_submodule(path)(x)).square().mean())
        assert error["stem", True] < error["stem", False], error  # neighbouring numbers say nothing of each other
        assert error["head", True] < 0.2 * error["head", False], error

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
