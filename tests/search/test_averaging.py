"""Codes are made from the mean of the latents over the last part of the training."""

import copy

import pytest
import torch
from torch import nn

from nncf_slb.search.averaging import Averaging
from nncf_slb.search.phases import Phase
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.values import make_values

DEFAULT = Averaging()


class Network(nn.Module):
    """Two layers whose weights a search holds, as a host puts them in."""

    def __init__(self, averaging=DEFAULT, bits=2):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)])
        first = SearchableWeight(self.layers[0], make_values("uniform", bits), "per_channel", averaging=averaging)
        second = SearchableWeight(
            self.layers[1], make_values("uniform", bits), "per_channel", averaging=averaging, search=first.search
        )
        self.searched = nn.ModuleList([first, second])
        for searched in self.searched:
            searched.begin()
        first.search.watch(self)

    def forward(self, x):
        for layer, searched in zip(self.layers, self.searched, strict=True):
            x = nn.functional.conv2d(x, searched(), layer.bias)
        return x


def train(network, steps):
    """Returns the latents of the first layer at each pass."""
    optimizer = torch.optim.SGD(network.parameters(), 0.2, momentum=0.9)
    numbers = torch.Generator().manual_seed(1)
    seen = []
    network.train()
    for _ in range(steps):
        seen.append(network.layers[0].weight.detach().clone())
        optimizer.zero_grad()
        network(torch.randn(4, 3, 8, 8, generator=numbers)).square().mean().backward()
        optimizer.step()
    return seen


def mean_by_loop(seen, share):
    mean = seen[0]
    for passes, latent in enumerate(seen[1:], 1):
        mean = mean + share(passes) * (latent - mean)
    return mean


@pytest.mark.parametrize(
    ("averaging", "share"), [(Averaging(), lambda n: 16 / (n + 16)), (Averaging(0.9), lambda n: 0.1)]
)
def test_the_mean_is_that_of_the_latents_of_all_passes(averaging, share):
    network = Network(averaging)
    mean = mean_by_loop(train(network, 30), share)
    searched = network.searched[0]
    torch.testing.assert_close(searched.descent.mean, mean)
    plain = copy.deepcopy(network)
    with torch.no_grad():
        plain.layers[0].weight.copy_(mean)
        plain.searched[0].descent.mean = None
    assert torch.equal(searched.codes(), plain.searched[0].codes())
    assert not torch.equal(searched.descent.mean, network.layers[0].weight)


def test_without_a_mean_codes_are_those_of_the_latents():
    network = Network(None)
    train(network, 3)
    searched, latent = network.searched[0], network.layers[0].weight
    distance = ((latent / searched.descent.unit).unsqueeze(-1) - searched.value_table).abs()
    assert searched.descent.mean is None
    assert torch.equal(searched.codes(), distance.argmin(-1).to(torch.uint8))


def test_only_training_passes_with_gradients_move_the_mean():
    network = Network()
    train(network, 5)
    before = network.searched[0].descent.mean.clone()
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        network.train()(x)
    network.eval()(x)
    assert torch.equal(network.searched[0].descent.mean, before)
    network.train()(x)
    assert not torch.equal(network.searched[0].descent.mean, before)


def test_a_search_goes_on_to_the_same_bits_from_its_state():
    whole, halves = Network(), Network()
    train(whole, 6)
    train(halves, 6)
    resumed = Network()
    resumed.load_state_dict(halves.state_dict())
    for network in (whole, resumed):
        train(network, 6)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_mean_follows_after_the_end_as_well():
    network = Network()
    train(network, 3)
    network.searched[0].search.phase = Phase(20.0, discrete=True)
    before = network.searched[0].descent.mean.clone()
    train(network, 3)
    assert not torch.equal(network.searched[0].descent.mean, before)


def test_a_checkpoint_of_separate_latents_is_refused_with_a_sentence():
    network = Network()
    old = dict(network.state_dict())
    old["searched.0.descent.latent"] = old.pop("searched.0.descent.mean")
    with pytest.raises(RuntimeError, match="whose latents stood beside the layers' weights"):
        network.load_state_dict(old, strict=False)


class Behind(torch.optim.Optimizer):
    """Writes through ``.data``, where PyTorch counts no change."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.sub_(parameter.grad, alpha=0.1)


def sgd(**how):
    return lambda parameters: torch.optim.SGD(parameters, 0.1, **how)


@pytest.mark.parametrize("kind", [sgd(), sgd(fused=True), Behind], ids=["counted", "fused", "through .data"])
def test_several_passes_of_a_step_move_the_mean_once(kind):
    means, x = [], torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for parts in (1, 2, 4):
        network = Network(Averaging(0.5)).train()
        optimizer = kind(network.parameters())
        for _ in range(5):
            optimizer.zero_grad()
            for part in x.chunk(parts):
                (network(part).square().mean() / parts).backward()
            optimizer.step()
        means.append(network.searched[0].descent.mean)
    torch.testing.assert_close(means[0], means[1])
    torch.testing.assert_close(means[0], means[2])
