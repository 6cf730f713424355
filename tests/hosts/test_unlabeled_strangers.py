"""Networks as strangers write them, in a search without labels: the right file."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from nncf_slb.errors import DataError
from nncf_slb.openvino.network import IrNetwork
from nncf_slb.search.agreement import agreement
from nncf_slb.search.batchnorm import calibrate
from nncf_slb.search.runtime import CodedWeight, FixedActivation
from tests.hosts.strangers import EXACT, Ends, Signals, TwoFunctionWeights, samples, search


class Tied(Ends):
    """A weight that is used as it is and transposed."""


class TiedByFunction(Ends):
    def between(self, x):
        return functional.linear(torch.relu(self.middle(x)), self.middle.weight.t())


class TiedEnds(Ends):
    """The same of an 8-bit layer."""

    def forward(self, x):
        x = torch.relu(self.middle(torch.relu(self.between(self.first(x)))))
        return x @ self.middle.weight @ self.first.weight

    def between(self, x):
        return x


class CrossAttention(Ends):
    def __init__(self):
        super().__init__()
        self.keys = nn.Linear(6, 4)
        self.attention = nn.MultiheadAttention(8, 2, kdim=4, vdim=4, batch_first=True)

    def forward(self, x):
        keys = self.keys(x[:, None])
        return self.last(self.attention(self.first(x)[:, None], keys, keys, need_weights=False)[0].mean(1))


class TakesDictionary(Ends):
    def forward(self, batch):
        return super().forward(batch["x"])


class TupleLayer(Ends):
    class Layer(nn.Linear):
        def forward(self, x):
            return super().forward(x), None

    def __init__(self):
        super().__init__()
        self.middle = self.Layer(8, 8)

    def between(self, x):
        return self.middle(x)[0]


class Branch(Ends):
    """A layer that few batches reach."""

    def __init__(self):
        super().__init__()
        self.middle, self.rare = nn.Linear(8, 8), nn.Linear(8, 8)

    def between(self, x):
        return self.middle(x) + self.rare(x) if self.training and x[0, 0] > 1 else self.middle(x)


class ChangesItsInput(Ends):
    def forward(self, x):
        return super().forward(x.sub_(0.5).mul_(2))


class Temperature(Ends):
    def forward(self, x, temperature):
        return super().forward(x) * temperature


class Half(Ends):
    def __init__(self):
        super().__init__()
        self.bfloat16()


def one_layer():
    return nn.Linear(6, 3)


def compiled():
    return torch.compile(TwoFunctionWeights(), backend="eager")


def as_dictionaries(batch):
    return ({"x": batch},), {}


def with_a_number(batch):
    return (batch, torch.tensor(2.0)), {}


NETWORKS = [
    (Tied, {}), (Tied, {"activations": 8}), (TiedByFunction, {"bits": 1}), (TiedEnds, {"edges": 8}),
    (TwoFunctionWeights, {}), (CrossAttention, {}), (TakesDictionary, {"inputs": as_dictionaries}), (TupleLayer, {}),
    (Branch, {}), (ChangesItsInput, {}), (Temperature, {"inputs": with_a_number}), (Half, {}),
    (one_layer, {"edges": "search"}), (compiled, {}),
]  # fmt: skip


@pytest.mark.parametrize(("network", "settings"), NETWORKS, ids=lambda value: getattr(value, "__name__", None))
def test_the_file_gives_what_the_network_gives_at_any_batch(network, settings, tmp_path):
    result = search(network, **settings)
    file = IrNetwork(result.export(tmp_path / "model.xml"), properties=EXACT)
    inputs = settings.get("inputs", lambda batch: ((batch,), {}))
    for batch in (1, 2, 4, 5):
        args, kwargs = inputs(samples(batch))
        received = file(*args, **kwargs)
        with torch.no_grad():
            torch.testing.assert_close(received, result.model(*args, **kwargs), rtol=1e-4, atol=1e-5)


def test_images_stay_as_they_are_where_the_network_changes_its_input():
    images, losses = samples(), {}
    for network in (ChangesItsInput, lambda: Copies()):
        seen = losses.setdefault(network, [])
        search(network, images, steps=3, progress=lambda state, seen=seen: seen.append(state.output_loss))
    assert torch.equal(images, samples())
    first, second = losses.values()
    assert first == pytest.approx(second, rel=1e-5)


class Copies(ChangesItsInput):
    def forward(self, x):
        return super().forward(x.clone())


class Representable(Ends):
    """Trained on other images than it is searched with; one bit holds the weights of its middle layer."""

    def __init__(self):
        super().__init__()
        self.middle, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
        with torch.no_grad():
            weight = self.middle.weight
            weight.copy_(weight.sign() * weight.abs().amax(1, keepdim=True))
            for _ in range(30):
                self.train()(2 * samples() + 1)
        self.eval()

    def between(self, x):
        return torch.relu(self.norm(self.middle(x)))


@pytest.mark.parametrize("granularity", ["network", "block"])
def test_a_network_whose_weights_are_values_stays_what_it_is(granularity):
    torch.manual_seed(0)
    network, images = Representable(), samples() - 1
    found = search(network, images, bits=1, edges="float", steps=30, batch_size=8, granularity=granularity)
    with torch.no_grad():
        torch.testing.assert_close(found.model(images), network(images), rtol=0.01, atol=0.01)


def test_quantized_inputs_hold_what_batch_norm_of_other_images_gives():
    torch.manual_seed(0)
    network, images = Representable(), samples() - 1
    network.norm.running_var *= 0.01
    found = search(network, images, bits=1, activations=8, steps=1)
    with torch.no_grad():
        wanted = network(images)
        error = found.model(images) - wanted
    assert error.square().mean() < 0.01 * wanted.var(0).mean(), error.square().mean() / wanted.var(0).mean()


@pytest.mark.parametrize("rest", [1, 50])
def test_batch_norm_counts_samples_not_batches(rest):
    data = samples(200 + rest) + torch.arange(200 + rest)[:, None] * 0.1
    parts, whole = nn.BatchNorm1d(6), nn.BatchNorm1d(6)
    sizes = [100, 100, rest] if rest > 1 else [101, 50, 50]
    calibrate(parts, parts, data.split(sizes))
    calibrate(whole, whole, [data])
    torch.testing.assert_close(parts.running_mean, whole.running_mean)


def test_a_batch_norm_that_runs_twice_in_a_pass_sees_both():
    data, norm = samples(150), nn.BatchNorm1d(6)

    def run(batch):
        norm(batch)
        norm(batch + 3)

    calibrate(norm, run, data.split([100, 50]))
    torch.testing.assert_close(norm.running_mean, data.mean(0) + 1.5)


def test_an_odd_sample_is_no_batch_of_its_own():
    network = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
    )
    search(network, num_samples=201)
    search(network, samples(20), batch_size=2, num_samples=13)
    with pytest.raises(DataError, match="received 2 samples; allowed are 3 or more"):
        search(network, samples(2))


class TwoLayersOfOneWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 64), nn.Linear(64, 64), nn.Linear(64, 3)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.middle.weight

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.middle(torch.relu(self.first(x)))))))


def test_a_weight_that_two_layers_share_counts_once():
    result = search(TwoLayersOfOneWeight, bits=4)
    others = 64 * 6 + 3 * 64 + 4 * (64 + 64 + 64 + 3) + 4 * (64 + 64 + 3)  # edges in 8 bits, biases, scales
    assert result.rows[-1].bytes == 64 * 64 // 2 + others


class MaskedEncoder(nn.Module):
    """Layers that PyTorch runs as one operation in evaluation, on nested tensors where there is a mask."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)

    def forward(self, x, mask):
        return self.last(self.encoder(self.first(x), src_key_padding_mask=mask).mean(1))


@pytest.mark.parametrize("granularity", ["network", "block"])
@pytest.mark.parametrize("activations", [32, 8])
def test_encoders_with_masks_are_searched_and_exported(activations, granularity, tmp_path):
    def batch(count):
        return torch.randn(count, 5, 6), torch.arange(5) >= torch.randint(3, 6, (count, 1))

    arguments = {"inputs": lambda each: (each, {}), "granularity": granularity, "activations": activations}
    result = search(MaskedEncoder, [batch(20) for _ in range(3)], steps=2, **arguments)
    network = IrNetwork(result.export(tmp_path / "model.xml"), properties=EXACT)
    for count in (1, 3):
        data = batch(count)
        with torch.no_grad():
            torch.testing.assert_close(network(*data), result.model(*data), rtol=1e-2, atol=1e-2)


class Signs(nn.Module):
    """Convolutions that are binary ones where weights and inputs have 1 bit."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(1, 32, 3, padding=1), nn.Linear(32, 3)
        self.body = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(3))

    def forward(self, x):
        x = self.first(x)
        for layer in self.body:
            x = x + layer(x)
        return self.last(x.mean((2, 3)))


def test_bytes_of_a_budget_are_used_where_some_layers_are_binary(tmp_path):
    sizes = []
    for bits, budget in ((1, None), (2, None), ("auto", 2), ("auto", 1.5)):
        allowed = (
            {} if budget is None else {"budget": {"bytes": round(sizes[0] + (budget - 1) * (sizes[1] - sizes[0]))}}
        )
        result = search(Signs, torch.randn(60, 1, 4, 4), steps=1, bits=bits, activations=1, **allowed)
        sizes.append(result.export(tmp_path / "model.xml").with_suffix(".bin").stat().st_size)
    one, two, as_two, between = sizes
    unit = 32 * 32 * 9 // 8  # a bit for each weight of a layer
    assert two - unit < as_two <= two + 16 and one < between <= one + (two - one) / 2


def test_scores_may_put_the_network_into_evaluation_mode(tmp_path):
    def score(network):
        network.eval()
        return float(network(samples(10)).sum())

    result = search(TwoFunctionWeights, score=score)
    result.export(tmp_path / "model.xml")
    assert result.rows[-1].score == pytest.approx(result.rows[-2].score, rel=0.02)  # devices with bfloat16


def test_small_signals_are_searched_as_well_as_large_ones():
    decibels = []
    for size in (1.0, 1e-3):
        torch.manual_seed(0)
        _, nearest, searched = search(Signals(size), steps=300, batch_size=100).rows
        decibels.append(searched.agreement.value - nearest.agreement.value)
    assert min(decibels) > 1 and abs(decibels[0] - decibels[1]) < 2.5, decibels


def test_what_moves_from_zeros_does_not_agree():
    zeros, ones = (lambda batch, value=value: torch.full((4, 3, 2), value) for value in (0.0, 1.0))
    assert agreement(zeros, zeros, [None]).value == float("inf")
    assert agreement(zeros, ones, [None]).value == -float("inf")


def test_steps_of_the_networks_own_inputs_hold_all_that_was_seen():
    images = samples()
    images[17] *= 5
    result = search(TwoFunctionWeights, images, activations=8, steps=10, batch_size=100, edges="search")
    steps = [module.step for module in result.model.modules() if isinstance(module, FixedActivation)]
    assert any(float(step) * 127 == pytest.approx(float(images[:210].abs().max()), rel=0.02) for step in steps)
    assert any(isinstance(module, CodedWeight) for module in result.model.modules())
