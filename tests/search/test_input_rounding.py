"""8-bit weights rounded with what goes into their layers: the outputs are nearer than with nearest integers."""

import pytest
import torch
from torch import nn

from nncf_slb.search.eight_bits import eight_bit_codes
from nncf_slb.search.input_rounding import round_with_inputs
from nncf_slb.search.runtime import FixedWeight

LAYERS = {
    "Conv1d": (nn.Conv1d(4, 6, 5, padding=2, padding_mode="circular"), (4, 30)),
    "Conv2d": (nn.Conv2d(4, 6, 3, padding=1), (4, 12, 12)),
    "stride, dilation": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2), padding="valid"), (4, 14, 12)),
    "padding same": (nn.Conv2d(4, 6, (3, 5), padding="same", padding_mode="reflect"), (4, 12, 12)),
    "groups": (nn.Conv2d(8, 6, 3, groups=2), (8, 12, 12)),
    "depthwise": (nn.Conv2d(6, 12, 5, groups=6), (6, 12, 12)),
    "Conv3d": (nn.Conv3d(3, 4, (2, 3, 3), padding=(0, 1, 1)), (3, 6, 7, 8)),
    "transposed": (nn.ConvTranspose2d(6, 5, 4, stride=2, padding=1, output_padding=1), (6, 8, 8)),
    "transposed, groups": (nn.ConvTranspose1d(8, 6, 5, stride=1, dilation=2, groups=2), (8, 20)),
    "Linear": (nn.Linear(40, 7), (40,)),
    "wide Linear": (nn.Linear(300, 5), (300,)),
    "tokens": (nn.Linear(40, 7, bias=False), (5, 40)),
}


def related(*shape):
    """Numbers of which neighbours are nearly equal, as pixels are."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for dimension in range(1, len(shape)):
        x = x.cumsum(dimension) / shape[dimension] ** 0.5
    return x


def run(network, batch):
    return network(batch)


def round(network, *others):
    round_with_inputs(network, network, *others)


@torch.no_grad()
def error(layer, weight, x):
    given = torch.func.functional_call(layer, {"weight": weight()}, x)
    return float((given - layer(x)).square().mean())


@pytest.mark.parametrize("quantized_inputs", [False, True])
@pytest.mark.parametrize("kind", list(LAYERS))
def test_outputs_are_far_nearer_than_with_nearest_integers(kind, quantized_inputs):
    layer, shape = LAYERS[kind]
    x, nearest, found = related(80, *shape), 0.0, 0.0
    for seed in range(5):
        torch.manual_seed(seed)
        layer.reset_parameters()
        weight = FixedWeight(eight_bit_codes(layer, quantized_inputs))
        before, scale = weight.codes.clone(), weight.scale.clone()
        nearest += error(layer, weight, x[60:])
        round(nn.Sequential(layer), {"0": weight}, run, x[:60].split(20))
        assert weight.codes.dtype == before.dtype and torch.equal(weight.scale, scale)
        found += error(layer, weight, x[60:])
    assert found < 0.4 * nearest, (found, nearest)


def test_samples_without_a_batch_dimension():
    layer = nn.Conv2d(4, 6, 3)
    weight = FixedWeight(eight_bit_codes(layer, True))
    x = related(40, 4, 9, 9)
    nearest = error(layer, weight, x)
    round(nn.Sequential(layer), {"0": weight}, run, x)
    assert error(layer, weight, x) < 0.25 * nearest


def test_no_output_is_further_away_where_inputs_say_nothing():
    """Of few samples, independent numbers, or zeros."""
    torch.manual_seed(0)
    layer = nn.Linear(50, 9)
    for x in (torch.randn(3, 50), torch.randn(2000, 50), torch.zeros(5, 50)):
        weight = FixedWeight(eight_bit_codes(layer, True))
        nearest = (weight() - layer.weight) @ x.T
        round(nn.Sequential(layer), {"0": weight}, run, [x])
        found = (weight() - layer.weight) @ x.T
        assert bool((found.norm(dim=1) <= nearest.norm(dim=1) * 1.001).all())


def test_layers_that_share_a_weight_are_rounded_with_the_inputs_of_both():
    one, two = nn.Linear(30, 6), nn.Linear(30, 6)
    two.weight = one.weight
    network = nn.ModuleDict({"one": one, "two": two})
    x = related(300, 30)
    given = x, x.flip(1)
    weight = FixedWeight(eight_bit_codes(one, True))
    nearest = sum(error(one, weight, each) for each in given)
    fixed = {"one": weight, "two": weight}
    round(network, fixed, lambda net, _: (net["one"](given[0]), net["two"](given[1])), [None])
    assert sum(error(one, weight, each) for each in given) < 0.25 * nearest


def test_what_computes_with_its_weight_in_its_own_way_stays():
    class Flipped(nn.Linear):
        def forward(self, x):
            return super().forward(x.flip(1))

    class Cropped(nn.ConvTranspose2d):
        def forward(self, x):
            return super().forward(x)[:, :, 1:]

    class Padded(nn.Conv2d):
        def forward(self, x):
            return super().forward(torch.nn.functional.pad(x, (0, 3, 0, 3)))

    class Listed(nn.Linear):
        def forward(self, x):
            return [super(Listed, self).forward(each) for each in x]

    class Named(nn.Linear):
        """Computes as its parent does."""

    network = nn.ModuleDict(
        {"flipped": Flipped(30, 6), "cropped": Cropped(1, 2, 3), "attention": nn.MultiheadAttention(6, 2),
         "named": Named(30, 6), "padded": Padded(1, 2, 6), "listed": Listed(30, 6), "later": nn.Linear(30, 6)}
    )  # fmt: skip
    layers = {name: module for name, module in network.items() if name != "attention"}
    kept = {name: FixedWeight(eight_bit_codes(layer, True)) for name, layer in layers.items()}
    kept["attention.in_proj_weight"] = FixedWeight(eight_bit_codes(nn.Linear(6, 18), True))
    before = [weight.codes.clone() for weight in kept.values()]

    def run(net, x):
        if len(x) > 40:  # not the first batch
            net["later"](x)
        net["flipped"](x), net["cropped"](x.reshape(-1, 1, 6, 5)), net["named"](input=x)
        net["padded"](x.reshape(-1, 1, 6, 5)), net["listed"]([x, x])

    round(network, kept, run, [related(40, 30), related(50, 30)])
    same = dict(zip(kept, map(torch.equal, before, (weight.codes for weight in kept.values())), strict=True))
    assert same == {name: name != "named" for name in kept}
