"""The search through NNCF's own functions, on real digits."""

import copy

import pytest
import torch
from nncf.api.compression import CompressionStage
from torch import nn

import nncf_slb
from tests.networks import MIXED_ENDS, Mixed, Small, compress, digits, make_config, train

SIZE = [50, 1, 8, 8]


def schedule(**params):
    return {"params": {"epochs": 4, "start_epoch": 1, "end_epoch": 3, **params}}


def trained_float():
    torch.manual_seed(0)
    loader, _, _ = digits()
    model = Small()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(15):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


def accuracy(model, x, y):
    with torch.no_grad():
        return float((model(x).argmax(1) == y).double().mean())


def test_the_shortest_config_searches_every_layer():
    ctrl, model = compress(Small(), make_config(SIZE))
    layers = ctrl.statistics().slb.layers
    assert [layer.bits for layer in layers] == [2, 2, 2]
    assert len(nncf_slb.logits_parameters(model)) == 3


def test_discrete_network_starts_near_the_trained_one_and_ends_there():
    loader, x, y = digits()
    model = trained_float()
    reference = accuracy(model, x, y)
    ctrl, model = compress(model, make_config(SIZE, {"weights": {"bits": 3}, **schedule()}), loader)
    model.eval()
    assert accuracy(model, x, y) > reference - 0.15
    train(ctrl, model, loader, 4)
    assert accuracy(model, x, y) > reference - 0.03


def test_expected_weights_train_and_chosen_weights_evaluate():
    ctrl, model = compress(Small(), make_config(SIZE))
    searchable = next(iter(ctrl.searchable_weights.values()))
    chosen_from = searchable.value_table * searchable.values.step
    model.eval()
    weight = searchable() / searchable.scale.view(-1, 1, 1, 1)
    assert (weight.detach()[..., None] - chosen_from).abs().amin(-1).max() < 1e-6
    model.train()
    assert (searchable() / searchable.scale.view(-1, 1, 1, 1)).detach().unique().numel() > 4


def test_after_the_end_of_gradient_descent_codes_stand_still_and_the_rest_trains():
    loader, _, _ = digits()
    ctrl, model = compress(Small(), make_config(SIZE, schedule(descent="gradient")), loader)
    optimizer = train(ctrl, model, loader, 3)
    codes = [weight.codes() for weight in ctrl.searchable_weights.values()]
    bias = model.head.bias.detach().clone()
    train(ctrl, model, loader, 1, optimizer=optimizer)
    found = [weight.codes() for weight in ctrl.searchable_weights.values()]
    assert all(torch.equal(a, b) for a, b in zip(codes, found, strict=True))
    assert not torch.equal(bias, model.head.bias)


def test_after_the_end_of_mirror_descent_discrete_weights_go_on_training():
    loader, _, _ = digits()
    ctrl, model = compress(Small(), make_config(SIZE, schedule()), loader)
    optimizer = train(ctrl, model, loader, 3)
    (weight,) = {ctrl.searchable_weights[name] for name in ctrl.searchable_weights if "[second]" in name}
    used = []
    model.second.register_forward_pre_hook(lambda *_: used.append(weight()))
    before = [p.detach().clone() for p in nncf_slb.logits_parameters(model)]
    train(ctrl, model, loader, 1, optimizer=optimizer)
    assert not any(torch.equal(a, b) for a, b in zip(before, nncf_slb.logits_parameters(model), strict=True))
    assert all(len(channel.unique()) <= 4 for channel in used[0])


@pytest.mark.parametrize(
    "params",
    [
        {"batchnorm": "calibrate"},
        {"batchnorm": "state"},
        {"descent": "gradient"},
        {"average": 0.9},
        {"average": "none"},
    ],
)
def test_resumed_run_gives_the_same_bits_as_an_uninterrupted_one(params, tmp_path):
    loader, x, _ = digits()
    start = trained_float()
    config = {"weights": {"bits": 2}, **schedule(update_per_optimizer_step=True, **params)}

    def fresh(state=None):
        return compress(copy.deepcopy(start), make_config(SIZE, config), loader, state)

    ctrl, model = fresh()
    optimizer = train(ctrl, model, loader, 2)
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "compression": ctrl.get_compression_state(),
    }
    torch.save(content, tmp_path / "c.pth")
    train(ctrl, model, loader, 2, optimizer=optimizer)

    with torch.serialization.safe_globals([CompressionStage]):
        saved = torch.load(tmp_path / "c.pth", weights_only=True)
    resumed_ctrl, resumed = fresh(saved["compression"])
    resumed.load_state_dict(saved["model"])
    optimizer = torch.optim.Adam([p for p in resumed.parameters() if p.requires_grad], 0.02)
    optimizer.load_state_dict(saved["optimizer"])
    train(resumed_ctrl, resumed, loader, 2, optimizer=optimizer)

    assert torch.equal(model(x), resumed(x))
    whole, halves = model.state_dict(), resumed.state_dict()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    assert ctrl.get_compression_state() == resumed_ctrl.get_compression_state()


def test_overrides_choose_bits_per_layer_and_statistics_tell():
    slb = {
        "weights": {"bits": 1, "overrides": [{"target_scopes": "{re}second", "bits": 4}]},
        "ignored_scopes": ["{re}first"],
    }
    ctrl, _ = compress(Small(), make_config(SIZE, slb))
    statistics = ctrl.statistics().slb
    assert [(layer.bits, layer.bytes) for layer in statistics.layers] == [(4, 576), (1, 20)]
    assert statistics.full_precision_layers == ("Small/NNCFConv2d[first]/conv2d_0",)
    assert "full precision: Small/NNCFConv2d[first]/conv2d_0" in ctrl.statistics().to_str()
    assert sum(statistics.layers[0].histogram) == pytest.approx(1.0)


def test_lr_multiplier_scales_the_gradients_of_the_search():
    grads = []
    for section in ({}, {"compression_lr_multiplier": 3.0}):
        torch.manual_seed(0)
        _, model = compress(Small(), make_config(SIZE, section))
        model.train()
        model(torch.ones(4, 1, 8, 8) * torch.arange(4.0).view(4, 1, 1, 1)).square().sum().backward()
        grads.append(nncf_slb.logits_parameters(model)[0].grad)
    torch.testing.assert_close(grads[1], grads[0] * 3)


def test_random_logits_and_no_scale_are_the_papers_form():
    slb = {"weights": {"scale": "none"}, "initializer": {"logits": "random"}}
    ctrl, model = compress(Small(), make_config(SIZE, slb))
    model.eval()
    weight = next(iter(ctrl.searchable_weights.values()))()
    assert {round(v, 4) for v in weight.flatten().tolist()} <= {-1.0, -0.3333, 0.3333, 1.0}


@pytest.mark.parametrize("descent", ["mirror", "gradient"])
def test_every_value_is_used_from_random_logits(descent):
    """Mirror descent adds a line over the values to the logits; behind equal ones only the two ends of it would win."""
    torch.manual_seed(0)
    loader, _, _ = digits()
    slb = {"weights": {"bits": 4}, "initializer": {"logits": "random"}, **schedule(descent=descent)}
    ctrl, model = compress(Small(), make_config(SIZE, slb), loader)
    train(ctrl, model, loader, 4)
    codes = torch.cat([searchable.codes().flatten() for searchable in ctrl.searchable_weights.values()])
    outermost = ((codes == 0) | (codes == 15)).double().mean()
    assert len(codes.unique()) == 16 and float(outermost) < 0.5


def test_random_logits_do_not_begin_near_the_float_weights():
    start = trained_float()
    sections = ({}, {"initializer": {"logits": "random"}})
    found = [compress(copy.deepcopy(start), make_config(SIZE, section))[0] for section in sections]
    trained, random = (torch.cat([w.codes().flatten() for w in ctrl.searchable_weights.values()]) for ctrl in found)
    assert float((trained == random).double().mean()) < 0.5


def test_nncf_takes_ranges_from_an_untrained_network_with_statistics_of_data():
    torch.manual_seed(0)
    loader, x, _ = digits()
    quantization = {
        "algorithm": "quantization",
        "initializer": {"range": {"num_init_samples": 200}},
        "weights": {"ignored_scopes": ["{re}first", "{re}second"]},
    }
    section = {"initializer": {"logits": "random"}, "ignored_scopes": ["{re}head"]}
    start = Small()
    _, model = compress(copy.deepcopy(start), make_config(SIZE, section, [quantization]), loader)
    scale = next(p for name, p in model.named_parameters() if "relu_1|OUTPUT" in name and "scale" in name)
    with torch.no_grad():
        normalized = start.train().second_bn(start.second(start.first_bn(start.first(x)).relu()))
    assert float(scale) == pytest.approx(float(normalized.amax((1, 2, 3)).mean()), rel=0.05)  # NNCF's own rule


def test_grouped_strided_dilated_and_transposed_layers_get_gradients():
    torch.manual_seed(0)
    _, model = compress(Mixed(), make_config([2, 1, 12, 12], {"ignored_scopes": MIXED_ENDS}))
    model.train()
    model(torch.randn(2, 1, 12, 12)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in nncf_slb.logits_parameters(model))


def test_nncf_distils_from_the_float_network_not_from_the_searched_one():
    loader, x, _ = digits()
    start = trained_float()
    distillation = {"algorithm": "knowledge_distillation", "type": "softmax", "scale": 1.0, "temperature": 4}
    ctrl, model = compress(copy.deepcopy(start), make_config(SIZE, schedule(), [distillation]), loader)
    ctrl.scheduler.epoch_step()
    model.train()
    ctrl.scheduler.step()
    student = torch.log_softmax(model(x[:50]) / 4, 1)
    teacher = torch.softmax(start.train()(x[:50]) / 4, 1)  # NNCF's teacher normalises by the batch, like its student
    assert float(ctrl.loss()) == pytest.approx(float(-(student * teacher).sum(1).mean() * 16), rel=1e-3)


def test_composite_resumes_to_the_same_bits(tmp_path):
    loader, x, _ = digits()
    start = trained_float()
    quantization = {
        "algorithm": "quantization",
        "initializer": {"range": {"num_init_samples": 50}, "batchnorm_adaptation": {"num_bn_adaptation_samples": 0}},
        "weights": {"ignored_scopes": ["{re}second"]},
    }
    section = {**schedule(), "ignored_scopes": ["{re}first", "{re}head"]}

    def fresh(state=None):
        return compress(copy.deepcopy(start), make_config(SIZE, section, [quantization]), loader, state)

    ctrl, model = fresh()
    optimizer = train(ctrl, model, loader, 2)
    torch.save([model.state_dict(), optimizer.state_dict(), ctrl.get_compression_state()], tmp_path / "c.pth")
    train(ctrl, model, loader, 2, optimizer=optimizer)
    with torch.serialization.safe_globals(list(nncf_slb.CHECKPOINT_TYPES)):
        weights, moments, state = torch.load(tmp_path / "c.pth", weights_only=True)
    resumed_ctrl, resumed = fresh(state)
    resumed.load_state_dict(weights)
    optimizer = torch.optim.Adam([p for p in resumed.parameters() if p.requires_grad], 0.02)
    optimizer.load_state_dict(moments)
    train(resumed_ctrl, resumed, loader, 2, optimizer=optimizer)
    assert torch.equal(model(x), resumed(x))
