"""Batch norm of a searched network beside that of the float network."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from nncf_slb.search.finite import NotFiniteError
from nncf_slb.search.matched_batchnorm import calibrate_to_target, matched_batch_norm


class Twice(nn.Module):
    """Its second batch norm runs twice, on different inputs; its middle can be recomputed for the gradients."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3)
        self.first = nn.BatchNorm2d(6)
        self.middle = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6, eps=1e-3), nn.ReLU())
        self.plain = nn.BatchNorm2d(6, affine=False)
        self.head = nn.Linear(6, 4)
        self.last = nn.BatchNorm1d(4)
        self.recomputed = False

    def forward(self, x):
        x = torch.relu(self.first(self.stem(x)))
        for _ in range(2):
            x = checkpoint(self.middle, x, use_reentrant=False) if self.recomputed else self.middle(x)
        return self.last(self.head(self.plain(x).mean((2, 3))))


def images(*sizes, shift=1.5):
    numbers = torch.Generator().manual_seed(1)
    return [3 * torch.randn(size, 2, 6, 6, generator=numbers) + shift for size in sizes]


def trained():
    """Network whose running statistics are of other images than `images` gives."""
    torch.manual_seed(0)
    network = Twice()
    with torch.no_grad():
        for norm in (network.first, network.middle[1], network.last):
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
        for _ in range(30):
            network(torch.randn(20, 2, 6, 6))
    return network.eval()


def run(network, batch):
    return network(batch)


def test_a_copy_stays_as_it_is_whatever_the_images():
    target = trained()
    searched = copy.deepcopy(target)
    assert calibrate_to_target(searched, target, run, images(7, 7, 3)) == 3
    for key, value in target.state_dict().items():
        torch.testing.assert_close(searched.state_dict()[key], value, rtol=1e-5, atol=1e-5)
    assert not searched.training


def test_a_network_of_rescaled_channels_gives_the_outputs_of_the_float_network():
    target = trained()
    searched = copy.deepcopy(target)
    with torch.no_grad():
        factors = torch.linspace(0.5, 4, 6)
        searched.stem.weight.mul_(factors.view(-1, 1, 1, 1))
        searched.stem.bias.add_(1).mul_(factors)
        searched.head.weight.mul_(3)
    data = images(20, 20, 11)
    with torch.no_grad():
        assert (searched(data[0]) - target(data[0])).abs().max() > 0.5
        calibrate_to_target(searched, target, run, data)
        torch.testing.assert_close(searched(data[0]), target(data[0]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("recomputed", [False, True])
def test_in_training_outputs_have_the_mean_and_variance_of_the_float_network(recomputed):
    target = trained()
    searched = copy.deepcopy(target).train()
    searched.recomputed = recomputed
    own = {key: id(value) for key, value in searched.named_parameters()}
    with torch.no_grad():
        searched.stem.weight.mul_(5)  # batch norm takes it out
    (batch,) = images(5)
    with matched_batch_norm(searched, target):
        with torch.no_grad():
            wanted = target(batch)
        given = searched(batch)
        torch.testing.assert_close(given, wanted, rtol=1e-3, atol=1e-3)
        given.square().sum().backward()
    assert {key: id(value) for key, value in searched.named_parameters()} == own
    assert all(value.grad is not None for value in searched.parameters())


def test_gradients_of_batch_norm_are_those_of_its_matched_outputs():
    (batch,) = images(6)
    target, point = nn.Sequential(nn.BatchNorm2d(2)).eval(), torch.rand(2, dtype=torch.double)
    target[0].running_mean.fill_(0.3)
    target[0].running_var.fill_(2.0)
    target.double()
    batch = batch.double()

    def loss(weight):
        searched = copy.deepcopy(target).train()
        searched[0].weight = nn.Parameter(weight)
        with matched_batch_norm(searched, target):
            target(batch)
            result = (searched(batch) ** 3).sum()
            result.backward()
        return result.detach(), searched[0].weight.grad

    given = loss(point.clone())[1]
    for channel, step in enumerate(1e-5 * torch.eye(2, dtype=torch.double)):
        numeric = (loss(point + step)[0] - loss(point - step)[0]) / 2e-5
        torch.testing.assert_close(given[channel], numeric, rtol=1e-4, atol=1e-4)


def test_after_an_exception_everything_is_as_before():
    target = trained()
    searched = copy.deepcopy(target)
    before = copy.deepcopy(searched.state_dict())

    def broken():
        yield images(4)[0] * 9
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        calibrate_to_target(searched, target, run, broken())
    with pytest.raises(NotFiniteError, match="first"):
        calibrate_to_target(searched, target, run, [torch.full((4, 2, 6, 6), torch.nan)])
    with pytest.raises(ValueError, match="more than 1 value"), matched_batch_norm(searched.train(), target):
        target(images(1)[0])
        searched(images(1)[0])
    assert calibrate_to_target(searched, target, run, []) == 0
    for key, value in searched.state_dict().items():
        if "num_batches" not in key and "running" not in key:
            assert torch.equal(value, before[key]), key
    assert isinstance(searched.first._parameters["weight"], nn.Parameter)


class Branching(nn.Module):
    """Which batch norm runs depends on the batch."""

    def __init__(self):
        super().__init__()
        self.small, self.large = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

    def forward(self, x):
        return self.small(x) if x.abs().max() < 1 else self.large(x)


def test_layers_that_do_not_run_keep_their_statistics():
    target = Branching().eval()
    searched = copy.deepcopy(target)
    calibrate_to_target(searched, target, run, [5 * torch.randn(10, 3)])
    for name in ("running_mean", "running_var"):
        assert torch.equal(getattr(searched.small, name), getattr(target.small, name))
    assert calibrate_to_target(nn.Linear(3, 3), nn.Linear(3, 3), run, [torch.ones(2, 3)]) == 0
