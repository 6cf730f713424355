"""How far outputs move, against the obvious way to compute it."""

import copy
import itertools
import re

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nncf_slb
from nncf_slb.search.batchnorm import calibrate
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.values import make_values
from tests.networks import Mixed, Small, compress, digits, in_batches_of_any_size, make_config


def small():
    torch.manual_seed(0)
    return Small()


@torch.no_grad()
def obvious(model, layer, values, batches, distance):
    """Two copies of the network, batch norm in training mode, and the weight that a search from this one begins at."""
    rounded = copy.deepcopy(model)
    module = rounded.get_submodule(layer)
    module.weight.copy_(SearchableWeight(module, values, "per_channel").eval()())
    return distance([(copy.deepcopy(model).train()(x), rounded.train()(x)) for x in batches])


def mean_divergence(pairs):
    before, after = (torch.cat(outputs) for outputs in zip(*pairs, strict=True))
    return float(nn.functional.kl_div(after.log_softmax(1), before.softmax(1), reduction="batchmean"))


@pytest.mark.parametrize("layer", ["first", "second", "head"])
def test_logits_move_by_the_kl_divergence_of_their_classes(layer):
    model = small()
    loader, x, _ = digits()
    measured = nncf_slb.measure_sensitivity(model, loader, samples=100)
    assert set(measured) == {"first", "second", "head"} and set(measured[layer]) == {1, 2, 3, 4}
    for bits in (1, 3):
        expected = obvious(model, layer, make_values("uniform", bits), [x[:50], x[50:100]], mean_divergence)
        assert measured[layer][bits] == pytest.approx(expected, rel=1e-3)


class Nested(nn.Module):
    """A dict and a tuple of outputs that are no logits; transposed, grouped and plain convolution."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.ConvTranspose2d(1, 4, 3)
        self.grouped = nn.Conv2d(4, 4, 3, groups=2)

    def forward(self, x):
        features = self.up(x)
        return {"maps": (features, self.grouped(features)), "count": torch.tensor(3)}


def relative_error(pairs):
    def of_one(key):
        before, after = (torch.cat([key(output) for output in outputs]) for outputs in zip(*pairs, strict=True))
        return float((after - before).square().sum() / before.square().sum())

    return of_one(lambda output: output["maps"][0]) + of_one(lambda output: output["maps"][1])


def test_other_outputs_move_by_their_relative_squared_error_in_any_nesting():
    loader, x, _ = digits()
    measured = nncf_slb.measure_sensitivity(Nested(), loader, values="zero_centered", samples=200)
    assert set(measured["up"]) == {2, 3, 4}
    for layer in ("up", "grouped"):
        expected = obvious(Nested(), layer, make_values("zero_centered", 2), x.split(50), relative_error)
        assert measured[layer][2] == pytest.approx(expected, rel=1e-3)


def test_weights_that_are_already_discrete_cost_nothing():
    model = small()
    with torch.no_grad():
        model.second.weight.copy_(model.second.weight.sign() * torch.rand(16, 1, 1, 1))
    measured = nncf_slb.measure_sensitivity(model, digits()[0])
    assert abs(measured["second"][1]) < 1e-9 < 1e-6 < measured["first"][1]


def test_measuring_leaves_everything_as_it_was():
    model = small()
    model.head.eval()
    before = copy.deepcopy(model.state_dict())
    pointer = model.second.weight.data_ptr()
    nncf_slb.measure_sensitivity(model, digits()[0])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.second.weight.data_ptr() == pointer
    assert model.first_bn.training and not model.head.training


def test_whole_batches_are_measured_until_there_are_enough_samples():
    seen = []
    model = small()
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    nncf_slb.measure_sensitivity(model, digits()[0], samples=51, candidates=[2])
    assert seen == [50] * 2 * (1 + 3)


@pytest.mark.parametrize(
    ("samples", "expected"), [(30, [30]), (31, [30, 50]), (80, [30, 50]), (1000, [30, 50, 20, 60])]
)
def test_a_loader_without_a_batch_size_is_counted_batch_by_batch(samples, expected):
    seen = []
    model = small()
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    loader = in_batches_of_any_size(digits()[0])
    nncf_slb.measure_sensitivity(model, loader, samples=samples, candidates=[2])
    assert seen == [size for size in expected for _ in range(1 + 3)]


def test_layers_that_share_a_parameter_are_measured_once():
    model = Mixed()
    model.dilated.weight = model.strided.weight
    assert "dilated" not in nncf_slb.measure_sensitivity(model, digits()[0], samples=1, candidates=[1])


def ranks(numbers):
    return torch.tensor(numbers).argsort().argsort().double()


def test_sums_of_sensitivities_rank_mixed_networks_as_their_losses_on_other_data_do():
    """Every mix of 1 to 3 bits of a trained network, batch norm recalibrated as the search does it."""
    model, (loader, _, _) = trained(), digits()
    _, x, y = digits(count=1200)
    measured = nncf_slb.measure_sensitivity(model, loader, candidates=[1, 2, 3])
    sums, losses = [], []
    for mix in itertools.product([1, 2, 3], repeat=3):
        rounded = copy.deepcopy(model)
        for name, bits in zip(measured, mix, strict=True):
            layer = rounded.get_submodule(name)
            begun = SearchableWeight(layer, make_values("uniform", bits), "per_channel")
            layer.weight.data = begun.eval()().detach()
        calibrate(rounded, lambda batch, network=rounded: network(batch[0]), loader)
        with torch.no_grad():
            losses.append(float(nn.functional.cross_entropy(rounded(x[200:]), y[200:])))
        sums.append(sum(by_bits[bits] for by_bits, bits in zip(measured.values(), mix, strict=True)))
    assert torch.corrcoef(torch.stack([ranks(sums), ranks(losses)]))[0, 1] > 0.8


def trained():
    model = small()
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(15):
        for x, y in digits()[0]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


class Answers(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.layer, self.answer = nn.Linear(4, 4), answer

    def forward(self, x):
        return self.answer(self.layer(x))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda y: y.argmax(1), "gives Tensor without a floating-point tensor"),
        (lambda y: y / 0, "not finite, as they are or with 1-bit weights in layer"),
        (lambda y: y[y > 0], "depends on the weights of layer"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused(answer, message):
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.randn(64, 4), torch.zeros(64)), batch_size=64)
    with pytest.raises(nncf_slb.SensitivityError, match=message):
        nncf_slb.measure_sensitivity(Answers(answer), loader)


@pytest.mark.parametrize(
    ("values", "candidates", "allowed"),
    [
        ("zero_centered", [1, 2], "2, 3, 4"),
        ("ternary", [3], "2"),
        ("uniform", [0, 5], "1, 2, 3, 4"),
        ("uniform", [], "1, 2, 3, 4"),
    ],
)
def test_bits_that_the_values_cannot_have_are_refused(values, candidates, allowed):
    message = rf"candidates: received {re.escape(str(candidates))}; allowed with {values} values: some of \[{allowed}\]"
    with pytest.raises(ValueError, match=message):
        nncf_slb.measure_sensitivity(Nested(), digits()[0], values=values, candidates=candidates)


def test_ternary_values_are_measured_at_their_2_bits():
    assert set(nncf_slb.measure_sensitivity(Nested(), digits()[0], values="ternary")["up"]) == {2}


def test_a_searched_network_is_refused():
    ctrl, _ = compress(Small(), make_config([50, 1, 8, 8]))
    with pytest.raises(TypeError, match="already being searched; allowed is a float network"):
        nncf_slb.measure_sensitivity(ctrl.model, digits()[0])
