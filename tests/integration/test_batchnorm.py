"""Batch norm statistics of the discrete network, through NNCF's own functions."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import nncf_slb
from tests.integration.test_search import SIZE, schedule, trained_float
from tests.networks import Small, compress, digits, make_config, train


def test_evaluation_uses_batch_norm_statistics_of_the_discrete_weights():
    loader, x, _ = digits()
    ctrl, model = compress(Small(), make_config(SIZE, schedule()), loader)
    train(ctrl, model, loader, 1)
    with torch.no_grad():
        model(x)
        features = model.first(x)
    torch.testing.assert_close(model.first_bn.running_mean, features.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_state_keeps_statistics_of_both_networks():
    loader, x, _ = digits()
    ctrl, model = compress(Small(), make_config(SIZE, schedule(batchnorm="state")), loader)
    train(ctrl, model, loader, 2)
    model.eval()
    model(x)
    discrete = model.second_bn.running_mean.clone()
    with nncf_slb.searched_network(ctrl) as searched:
        searched(x)
        assert not torch.equal(model.second_bn.running_mean, discrete)
    assert torch.equal(model.second_bn.running_mean, discrete)


@pytest.mark.parametrize("batchnorm", ["calibrate", "state"])
def test_searched_network_leaves_everything_as_it_was(batchnorm):
    loader, x, _ = digits()
    ctrl, model = compress(Small(), make_config(SIZE, schedule(batchnorm=batchnorm)), loader)
    train(ctrl, model, loader, 2)
    before = model(x)
    with nncf_slb.searched_network(ctrl) as searched:
        assert not torch.equal(searched(x), before)
    assert torch.equal(model(x), before)


class Unreadable(Dataset):
    """Digits of which the later ones cannot be read while `broken` is set."""

    def __init__(self):
        self.data, self.broken = digits()[0].dataset, False

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if self.broken and index > 120:
            raise OSError("unreadable")
        return self.data[index]


def test_a_calibration_that_fails_leaves_the_model_as_it_was():
    data = Unreadable()
    loader = DataLoader(data, batch_size=50)
    ctrl, model = compress(Small(), make_config(SIZE, schedule()), loader)
    train(ctrl, model, loader, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data.broken = True
    x = digits()[1]
    with pytest.raises(OSError, match="unreadable"):
        model(x)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert (model.first_bn.momentum, model.training) == (0.1, False)
    data.broken = False
    model(x)
    assert not torch.equal(model.first_bn.running_mean, before["first_bn.running_mean"])


def test_weights_saved_between_training_and_evaluation_are_calibrated_where_they_are_loaded():
    loader, x, _ = digits()
    config = {"weights": {"bits": 1}, **schedule()}
    ctrl, model = compress(trained_float(), make_config(SIZE, config), loader)
    train(ctrl, model, loader, 4)
    saved = copy.deepcopy(model.state_dict())
    expected = model(x)
    other_ctrl, other = compress(Small(), make_config(SIZE, config), loader)
    other.load_state_dict(saved)
    assert not torch.equal(saved["second_bn.running_mean"], model.second_bn.running_mean)
    assert torch.equal(other.eval()(x), expected)
    other.load_state_dict(model.state_dict())
    assert not other_ctrl.batchnorm.stale


@pytest.mark.parametrize("batchnorm", ["calibrate", "state"])
def test_a_stripped_network_has_no_trace_of_it(batchnorm):
    loader, _, _ = digits()
    ctrl, model = compress(Small(), make_config(SIZE, schedule(batchnorm=batchnorm)), loader)
    train(ctrl, model, loader, 1)
    own = {name for name in Small().state_dict() if "bn" in name}
    assert {name for name in ctrl.strip().state_dict() if "bn" in name or "batchnorm" in name} == own


class WithoutBatchNorm(nn.Module):
    """Counts its forward passes."""

    passes = 0

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        WithoutBatchNorm.passes += 1
        return self.head(self.conv(x).relu().mean((2, 3)))


def passes(run):
    before = WithoutBatchNorm.passes
    run()
    return WithoutBatchNorm.passes - before


@pytest.mark.parametrize("batchnorm", ["calibrate", "state"])
def test_a_network_without_batch_norm_pays_nothing_for_it(batchnorm):
    loader, x, _ = digits()
    ctrl, model = compress(WithoutBatchNorm(), make_config(SIZE, schedule(batchnorm=batchnorm)), loader)
    assert passes(lambda: train(ctrl, model, loader, 1)) == len(loader)
    assert passes(lambda: model.eval()(x)) == 1
    assert passes(ctrl.strip) == 0
    with nncf_slb.searched_network(ctrl) as searched:
        assert passes(lambda: searched(x)) == 1


def test_creating_a_network_without_batch_norm_adapts_nothing():
    loader, _, _ = digits()
    counts = [
        passes(lambda section=section: compress(WithoutBatchNorm(), make_config(SIZE, section), loader))
        for section in ({}, {"initializer": {"batchnorm_adaptation": None}})
    ]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("network", "warns"), [(Small, True), (WithoutBatchNorm, False)])
def test_a_missing_loader_matters_to_batch_norm_only(network, warns, caplog):
    loader, x, _ = digits()
    ctrl, model = compress(network(), make_config(SIZE, schedule()))
    train(ctrl, model, loader, 1)
    model(x)
    assert ("no batches to calibrate batch norm with" in caplog.text) == warns
