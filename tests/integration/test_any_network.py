"""Networks as others write them: the searched network, the stripped one and the IR, however it is loaded, are one."""

from collections import namedtuple

import openvino as ov
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nncf_slb
from tests.networks import compress, make_config


class Lambda(nn.Module):
    """A network from its layers and a function of (layers, inputs)."""

    def __init__(self, function, **layers):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.function = function

    def forward(self, *inputs):
        return self.function(self.layers, *inputs)


def conv(inputs, outputs, kernel=3, **others):
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **others)


def plain(*layers):
    return nn.Sequential(*layers)


def tokens(x):
    return x.flatten(2).transpose(1, 2)


class SameConv(nn.Conv2d):
    """A subclass with a forward of its own, as model zoos have for padding."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Standardized(nn.Conv2d):
    """Computes with its weight before it uses it."""

    def forward(self, x):
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        deviation = self.weight.std((1, 2, 3), keepdim=True) + 1e-5
        return F.conv2d(x, (self.weight - mean) / deviation, self.bias, self.stride, self.padding)


class Scaled(nn.Linear):
    """Has a name that the search uses too, and takes a second argument, by keyword."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.scale, self.values = 0.5, [1, 2]

    def forward(self, x, factor=1.0):
        return F.linear(x, self.weight * self.scale, self.bias) * factor


class AsksParameters(nn.Module):
    """Asks its first parameter for device and type, as many networks do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, bias=False)

    def forward(self, x):
        first = next(self.parameters())
        return self.conv(x.to(first.device, first.dtype))


Pair = namedtuple("Pair", ["logits", "features"])
IMAGE, TOKENS = (3, 3, 12, 12), (3, 5, 16)


def dense_block(layers, x):
    x = layers["stem"](x)
    for name in ("a", "b"):
        x = torch.cat([x, layers[name](x.relu())], 1)
    return layers["head"](x.mean((2, 3)))


def shuffled(layers, x):
    x = layers["stem"](x)
    for name in ("a", "b", "c"):
        left, right = x.chunk(2, 1)
        x = torch.cat([left, layers[name](right)], 1)
        x = x.view(x.shape[0], 2, 4, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
    return layers["head"](x)


def unused_head(layers, x):
    y = layers["a"](x * 255.0).relu()
    layers["unused"](y)
    return layers["b"](y * -1.7)


def squeezed(layers, x):
    y = layers["conv"](x)
    gate = layers["up"](layers["down"](F.adaptive_avg_pool2d(y, 1)).relu()).sigmoid()
    return layers["head"](y * gate)


NETWORKS = {
    "a pre-activation block": lambda: (
        Lambda(lambda m, x: (y := m["a"](x)) + m["b"](m["norm"](y).relu()), a=conv(3, 8, bias=False),
               norm=nn.BatchNorm2d(8), b=conv(8, 8, bias=False)), IMAGE),
    "a dense block": lambda: (
        Lambda(dense_block, stem=conv(3, 8, bias=False), a=conv(8, 4, bias=False), b=conv(12, 4),
               head=nn.Linear(16, 5)), IMAGE),
    "channels shuffled": lambda: (
        Lambda(shuffled, stem=conv(3, 8, 1, bias=False), a=conv(4, 4, bias=False), b=conv(4, 4, groups=4), c=conv(4, 4),
               head=conv(8, 4, 1)), IMAGE),
    "an output times itself": lambda: (
        Lambda(lambda m, x: m["b"]((y := m["a"](x)) * y), a=conv(3, 8, bias=False), b=conv(8, 8)), IMAGE),
    "two outputs of one convolution": lambda: (
        Lambda(lambda m, x: ((y := m["a"](x)), m["b"](y)), a=conv(3, 8, bias=False), b=conv(8, 8)), IMAGE),
    "a token mixer": lambda: (
        Lambda(lambda m, x: m["fc"](tokens(m["conv"](x))), conv=nn.Conv2d(3, 16, 4, 4), fc=nn.Linear(16, 8)), IMAGE),
    "as many tokens as channels": lambda: (
        Lambda(lambda m, x: m["fc"](tokens(m["conv"](x))), conv=nn.Conv2d(3, 9, 4, 4), fc=nn.Linear(9, 8)), IMAGE),
    "mixing tokens and channels": lambda: (
        Lambda(lambda m, x: m["out"]((x + m["across"](x.transpose(1, 2)).transpose(1, 2)).mean(1)),
               across=nn.Linear(5, 5), out=nn.Linear(16, 4)), TOKENS),
    "a pooled 1x1 convolution": lambda: (
        plain(conv(3, 64), nn.AdaptiveAvgPool2d(1), nn.Conv2d(64, 40, 1), nn.Flatten()), IMAGE),
    "squeeze and excite": lambda: (
        Lambda(squeezed, conv=conv(3, 16, bias=False), down=nn.Conv2d(16, 4, 1), up=nn.Conv2d(4, 16, 1),
               head=conv(16, 8, 1)), IMAGE),
    "a projector": lambda: (
        plain(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(),
              nn.Linear(16, 10)), (4, 16)),
    "a norm behind a mean over tokens": lambda: (
        Lambda(lambda m, x: m["fc"](m["norm"](x.mean(1))), norm=nn.BatchNorm1d(16), fc=nn.Linear(16, 10)), TOKENS),
    "a maximum over tokens": lambda: (
        Lambda(lambda m, x: m["fc"](m["norm"](x.amax(1))), norm=nn.BatchNorm1d(16), fc=nn.Linear(16, 10)), TOKENS),
    "a gate beside a group norm": lambda: (
        Lambda(lambda m, x: m["conv"](m["norm"](x) * torch.sigmoid(F.leaky_relu(x, 0.1) - x)), norm=nn.GroupNorm(1, 3),
               conv=conv(3, 8)), IMAGE),
    "strides behind a transposition": lambda: (
        Lambda(lambda m, x: m["conv"](m["norm"](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)), norm=nn.LayerNorm(3),
               conv=nn.Conv2d(3, 16, 1, 2)), IMAGE),
    "padded strides": lambda: (
        Lambda(lambda m, x: m["b"](F.pad(m["a"](x), (1, 1, 1, 1))), a=nn.Conv2d(3, 8, 1, 2), b=nn.Conv2d(8, 8, 1, 2)),
        IMAGE),
    "signs behind a concatenation": lambda: (
        Lambda(lambda m, x: m["conv"](torch.cat([m["a"](x), m["b"](x)], 1)), a=conv(3, 8), b=conv(3, 8),
               conv=conv(16, 16, stride=2)), IMAGE),
    "a factor and an unused head": lambda: (
        Lambda(unused_head, a=conv(3, 8), b=conv(8, 8), unused=nn.Conv2d(8, 2, 1)), IMAGE),
    "split and join": lambda: (
        Lambda(lambda m, x: torch.cat([m["a"](x[:, :4]), m["b"](x[:, 4:])], 1), a=nn.Conv2d(4, 4, 1, bias=False),
               b=nn.Conv2d(4, 4, 1, bias=False)), (2, 8, 6, 6)),
    "subclasses": lambda: (
        Lambda(lambda m, x: m["fc"](m["conv"](x).mean((2, 3)), factor=2.0), conv=SameConv(3, 8, 2, 2), fc=Scaled(8, 4)),
        IMAGE),
    "parameters asked for their device": lambda: (AsksParameters(), IMAGE),
    "weights standardized": lambda: (plain(Standardized(3, 8, 3), nn.ReLU(), Standardized(8, 8, 3)), IMAGE),
    "layers called by keyword": lambda: (
        Lambda(lambda m, x: m["b"](input=m["a"](input=x).relu()), a=conv(3, 8), b=conv(8, 8)), IMAGE),
    "a dictionary of a tensor and a list": lambda: (
        Lambda(lambda m, x: {"logits": (y := m["a"](x)), "levels": [m["b"](y), {"last": y.mean(1)}], "count": 2},
               a=conv(3, 8), b=conv(8, 8)), IMAGE),
    "a named tuple": lambda: (
        Lambda(lambda m, x: Pair(m["b"](y := m["a"](x)), y), a=conv(3, 8), b=conv(8, 8)), IMAGE),
}  # fmt: skip
NORMS = {
    "over channels last": lambda: Lambda(lambda m, x: m["n"](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
                                         n=nn.LayerNorm(8)),
    "over the last dimension": lambda: nn.LayerNorm(12), "over images": lambda: nn.LayerNorm([8, 12, 12]),
    "without weights": lambda: nn.GroupNorm(2, 8, affine=False), "of groups": lambda: nn.GroupNorm(2, 8),
    "of instances": lambda: nn.InstanceNorm2d(8, affine=True), "of batches": lambda: nn.BatchNorm2d(8),
    "of neighbours": lambda: nn.LocalResponseNorm(3),
    "of squares": lambda: Lambda(lambda m, x: m["n"](x.transpose(1, 3)).transpose(1, 3), n=nn.RMSNorm(8)),
    "of vectors": lambda: Lambda(lambda m, x: F.normalize(x, dim=1)),
}  # fmt: skip
PAIRS = [(2, 32), (2, 8), (1, 1), (3, 2)]


def searched(network, shape, weights, activations):
    """Controller and network, in evaluation mode, with batch norm statistics and ranges of inputs from data."""
    torch.manual_seed(0)
    x = torch.randn(*shape)
    section = {"weights": {"bits": weights}, "activations": {"bits": activations}}
    ctrl, model = compress(network, make_config(shape, section))
    model.train()
    model(x)
    return ctrl, model.eval(), x


def check(ctrl, model, x, folder):
    """The three forms are one; a difference of rounding alone is told from a wrong file layer by layer."""
    with torch.no_grad():
        reference, stripped = (nncf_slb.flat_outputs(each(x)) for each in (model, ctrl.strip().eval()))
    assert list(reference) == list(stripped)
    for name, expected in reference.items():
        torch.testing.assert_close(stripped[name], expected, rtol=1e-5, atol=1e-6)
    path = nncf_slb.export_openvino(ctrl, folder / "m.xml")
    result = nncf_slb.verify_openvino(ctrl, path, x, tolerance=1e-3)
    assert result.passed, result.to_str()
    nncf_slb.inspect_openvino(path)
    return path


@pytest.mark.parametrize(("weights", "activations"), PAIRS)
@pytest.mark.parametrize("name", NETWORKS)
def test_all_forms_of_a_network_are_one(name, weights, activations, tmp_path):
    network, shape = NETWORKS[name]()
    check(*searched(network, shape, weights, activations), tmp_path)


@pytest.mark.parametrize("order", ["before", "behind", "between"])
@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_beside_searched_layers_is_right(norm, order, tmp_path):
    layers = {"before": [NORMS[norm](), conv(8, 8)], "behind": [conv(8, 8), NORMS[norm]()],
              "between": [conv(8, 8, bias=False), NORMS[norm](), conv(8, 8, 1)]}[order]  # fmt: skip
    for pair in ((2, 8), (1, 1)):
        check(*searched(plain(*layers), (3, 8, 12, 12), *pair), tmp_path)
        layers = [
            type(layer)(*arguments_of(layer)) if isinstance(layer, nn.Conv2d) else NORMS[norm]() for layer in layers
        ]


def arguments_of(layer):
    return layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding


@pytest.mark.parametrize(("activations", "blocks"), [(32, 200), (1, 60)])
def test_long_chains_of_residual_sums_end(blocks, activations, tmp_path):
    """A walk through the graph that forgets where it has been doubles its time with each sum: this would never end."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)

        def forward(self, x):
            return x + 0.1 * self.conv(self.norm(x))

    ctrl, _, x = searched(plain(*[Residual() for _ in range(blocks)]), (1, 8, 4, 4), 1, activations)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml", binary_convolution="always" if activations == 1 else None)
    assert len(nncf_slb.inspect_openvino(path).layers) == blocks
    nncf_slb.verify_openvino(ctrl, path, x, tolerance=0.0)


def test_outputs_keep_the_names_of_their_keys(tmp_path):
    network, shape = NETWORKS["a dictionary of a tensor and a list"]()
    path = check(*searched(network, shape, 2, 32), tmp_path)
    names = [port.get_names() for port in ov.Core().read_model(path).outputs]
    for expected, found in zip(["logits", "levels.0", "levels.1.last"], names, strict=True):
        assert expected in found


def test_the_layer_named_is_the_one_that_differs_behind_operations_in_place(tmp_path):
    pooled = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(64, 40, 1), nn.Flatten())
    network = plain(conv(3, 64), nn.BatchNorm2d(64), nn.ReLU(inplace=True), *pooled)
    ctrl, _, x = searched(network, IMAGE, 2, 32)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    stripped = ctrl.strip().eval()
    stripped[4].scale.mul_(1.5)
    result = nncf_slb.verify_openvino(stripped, path, x)
    assert not result.passed and result.first_layer.name == "4"


def test_the_file_runs_with_several_batches_as_it_is_and_fixed(tmp_path):
    ctrl, _, x = searched(plain(conv(3, 8), nn.ReLU(), conv(8, 4)), IMAGE, 2, 8)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    result = nncf_slb.verify_openvino(ctrl, path, x)
    ways = {(loading.batch, loading.fixed) for loading in result.loadings}
    assert ways == {(5, False), (1, False), (3, False), (1, True), (3, True)}
    assert "loaded in 5 ways" in result.to_str()
