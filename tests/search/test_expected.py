"""Weights that are computed together are those that each gives alone, with the gradients of plain arithmetic."""

import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from nncf_slb.search import expected
from nncf_slb.search.averaging import Averaging
from nncf_slb.search.latent import expected_entry
from nncf_slb.search.phases import Phase
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState, WeightKind
from nncf_slb.search.values import make_values

LAYERS = [
    lambda: nn.Conv2d(4, 6, 3),
    lambda: nn.Conv2d(6, 6, 3, groups=3),
    lambda: nn.Conv2d(8, 5, 1).to(memory_format=torch.channels_last),
    lambda: nn.Conv2d(5, 1, 3).to(memory_format=torch.channels_last),
    lambda: nn.ConvTranspose2d(6, 4, 2),
    lambda: nn.ConvTranspose2d(6, 4, 2, groups=2),
    lambda: nn.Conv1d(3, 4, 5),
    lambda: nn.Linear(7, 3),
    lambda: nn.Linear(3, 1),
]


def make(bits, values="uniform", scale="per_channel", search=None):
    search = search or SearchState()
    torch.manual_seed(0)
    layers = [layer() for layer in LAYERS]
    weights = [SearchableWeight(layer, make_values(values, bits), scale, search=search) for layer in layers]
    for weight in weights:
        weight.begin()
    return layers, weights, search


def by_plain_arithmetic(weight, latent, scale, sharpness):
    """The definition, with autograd: the latent's gradient straight through, the scale's through the product."""
    position = latent / weight.descent.unit
    with torch.no_grad():
        entry = (
            expected_entry(position, weight.values.table, sharpness)
            if math.isfinite(sharpness)
            else weight.value_table[(position.unsqueeze(-1) - weight.value_table).abs().argmin(-1)]
        )
    kept, weight.scale = weight.scale, None
    step = weight.multiplier()
    weight.scale = kept
    shaped = step if scale is None else step * expected.channel_broadcast(scale, latent.shape, weight.groups)
    return (entry + position - position.detach()) * shaped


@pytest.mark.parametrize("scale", ["per_channel", "per_channel_fixed", "none"])
@pytest.mark.parametrize(("values", "bits"), [("uniform", 1), ("uniform", 2), ("power_of_two", 3), ("uniform", 4)])
@pytest.mark.parametrize("phase", [Phase(1.0), Phase(30.0), Phase(20.0, discrete=True)])
@pytest.mark.parametrize(("block", "small", "together"), [(10, 50, 100), (131_072, 1 << 18, 1 << 20), (10, 0, 0)])
def test_many_weights_are_what_each_is_by_definition(
    scale, values, bits, phase, block, small, together, monkeypatch
):  # fmt: skip
    monkeypatch.setattr(expected, "_BLOCK", block)
    monkeypatch.setattr(expected, "_SMALL", small)
    monkeypatch.setattr(expected, "_TOGETHER", together)
    layers, weights, search = make(bits, values, scale)
    search.phase = phase
    sharpness = math.inf if phase.discrete else 2.0 * phase.inverse_temperature
    search.begin_pass()
    together = {weight: weight() for weight in weights}
    search.end_pass()
    for layer, weight in zip(layers, weights, strict=True):
        latent = layer.weight.detach().clone().requires_grad_()
        own_scale = None if weight.scale is None else weight.scale.detach().clone().requires_grad_()
        plain = by_plain_arithmetic(weight, latent, own_scale, sharpness)
        torch.testing.assert_close(together[weight], plain)
        sizes = zip(layer.weight.shape, together[weight].stride(), layer.weight.stride(), strict=True)
        assert all(ours == own for size, ours, own in sizes if size > 1)
        direction = torch.randn_like(plain)
        plain.backward(direction)
        together[weight].backward(direction, retain_graph=True)
        torch.testing.assert_close(layer.weight.grad, latent.grad)
        if scale == "per_channel":
            torch.testing.assert_close(weight.scale.grad, own_scale.grad, rtol=1e-4, atol=1e-5)


def test_losses_of_different_layers_go_backward_one_after_the_other():
    layers, weights, search = make(2)
    search.begin_pass()
    losses = [weight().square().sum() for weight in weights]
    search.end_pass()
    for loss in losses:
        loss.backward()
    assert all(layer.weight.grad is not None for layer in layers)


def test_what_takes_no_part_in_the_loss_gets_no_gradient():
    layers, weights, search = make(2)
    search.begin_pass()
    weights[0]().sum().backward()
    assert layers[0].weight.grad is not None and weights[0].scale.grad is not None
    assert all(layer.weight.grad is None for layer in layers[1:]) and weights[1].scale.grad is None


class Checkpointed(nn.Module):
    """Three layers, of which activation checkpoints compute the second twice."""

    def __init__(self, use_reentrant=None):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        search = SearchState()
        self.searched = nn.ModuleList(
            SearchableWeight(layer, make_values("uniform", 2), "per_channel", averaging=Averaging(), search=search)
            for layer in self.layers
        )
        for searched in self.searched:
            searched.begin()
        search.watch(self)
        self.use_reentrant = use_reentrant

    def layer(self, index, x):
        return torch.tanh(nn.functional.linear(x, self.searched[index](), self.layers[index].bias))

    def forward(self, x):
        x = self.layer(0, x)
        if self.use_reentrant is None:
            x = self.layer(1, x)
        else:
            x = checkpoint(self.layer, 1, x, use_reentrant=self.use_reentrant)
        return self.layer(2, x)


@pytest.mark.parametrize("small", [0, 1 << 18])
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpoints_change_neither_gradients_nor_means(use_reentrant, small, monkeypatch):
    monkeypatch.setattr(expected, "_SMALL", small)
    networks = [Checkpointed(), Checkpointed(use_reentrant)]
    x = torch.randn(5, 6)
    for network in networks:
        optimizer = torch.optim.SGD(network.parameters(), 0.5)
        for _ in range(3):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
    plain, checkpointed = (network.state_dict() for network in networks)
    assert "searched.1.descent.mean" in plain
    assert all(torch.equal(plain[key], checkpointed[key]) for key in plain)


def test_gradients_that_are_switched_on_inside_a_pass_reach_the_latents():
    layers, weights, search = make(2)
    with torch.no_grad():
        search.begin_pass()
        with torch.enable_grad():
            weights[0]().sum().backward()
        search.end_pass()
    assert layers[0].weight.grad is not None


def test_a_scale_of_zero_gets_a_finite_gradient():
    layers, weights, _ = make(2)
    with torch.no_grad():
        weights[0].scale[0] = 0.0
    weights[0]().sum().backward()
    assert weights[0].scale.grad.isfinite().all() and layers[0].weight.grad.isfinite().all()


@pytest.mark.parametrize(
    "change",
    [
        lambda layer, weight: layer.weight.data.mul_(-1),  # which PyTorch's own count of changes misses
        lambda layer, weight: layer.load_state_dict({"weight": -layer.weight, "bias": layer.bias}),
        lambda layer, weight: setattr(layer, "weight", nn.Parameter(-layer.weight.detach())),
        lambda layer, weight: layer.weight.data.copy_(layer.weight.data.flip(0)),
        lambda layer, weight: layer.weight.data[0, 0].neg_(),
        lambda layer, weight: weight.scale.data.mul_(2),
        lambda layer, weight: weight.descent.unit.mul_(3),
    ],
)
def test_discrete_weights_are_remembered_until_anything_that_they_follow_from_changes(change):
    layers, weights, _ = make(4)
    layer, weight = layers[0], weights[0].eval()
    with torch.no_grad():
        before = weight()
        assert weight() is before
        change(layer, weight)
        after = weight()
        assert not torch.equal(after, before)
        assert torch.equal(after, weight.value_table[weight.codes().long()] * weight.multiplier())


def test_a_remembered_weight_of_inference_mode_serves_training():
    _, weights, search = make(2)
    weight = weights[0].eval()
    with torch.inference_mode():
        weight()
    weight.scale.requires_grad_(False)
    x = torch.randn(1, 4, 5, 5, requires_grad=True)
    nn.functional.conv2d(x, weight()).sum().backward()
    assert x.grad is not None
    with search.using(WeightKind.EXPECTED):
        assert not torch.equal(weight(), weights[0].chosen())


@pytest.mark.parametrize("ending", [KeyError, KeyboardInterrupt])  # PyTorch calls no hook after the second
def test_a_pass_that_fails_leaves_nothing_behind(ending):
    _, weights, search = make(2)

    class Failing(nn.Module):
        def forward(self, again):
            assert search.is_prepared(weights[0])
            if again:
                with pytest.raises(ending):
                    self(False)
                assert search.is_prepared(weights[0])
            raise ending

    network = Failing()
    search.watch(network)
    for again in (False, True, False):
        with pytest.raises(ending):
            network(again)
        assert not search.is_prepared(weights[0])
