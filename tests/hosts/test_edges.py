"""First and last layers of any kind in 8 bits: their file is the network, and takes a byte a weight."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.hosts.dataflow import observe
from nncf_slb.openvino.network import IrNetwork
from nncf_slb.search.eight_bits import eight_bit_codes

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}

# First, middle and last layer, and the shape of a sample.
NETWORKS = {
    "Conv1d": lambda: ((nn.Conv1d(3, 8, 3), nn.Conv1d(8, 8, 3), nn.Conv1d(8, 4, 1)), (3, 20)),
    "Conv2d": lambda: ((nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 3)), (3, 9, 9)),
    "1x1": lambda: ((nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1)), (4, 9, 9)),
    "Conv3d": lambda: ((nn.Conv3d(2, 4, 3), nn.Conv3d(4, 4, 1), nn.Conv3d(4, 2, 1)), (2, 6, 6, 6)),
    "grouped": lambda: ((nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, groups=8)), (4, 9, 9)),
    "transposed": lambda: (
        (nn.ConvTranspose2d(4, 8, 2, 2), nn.Conv2d(8, 8, 3), nn.ConvTranspose2d(8, 4, 2, 2, groups=2)),
        (4, 5, 5),
    ),
    "Linear": lambda: ((nn.Linear(12, 16), nn.Linear(16, 16), nn.Linear(16, 5)), (12,)),
    "odd Linear": lambda: ((nn.Linear(7, 9), nn.Linear(9, 9), nn.Linear(9, 1)), (7,)),
}


def make(kind):
    torch.manual_seed(0)
    (first, middle, last), shape = NETWORKS[kind]()
    return nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), last), shape


@pytest.mark.parametrize("activations", [32, 8, 1])
@pytest.mark.parametrize("kind", list(NETWORKS))
def test_edges_of_any_kind_are_exact_in_their_file(kind, activations, tmp_path):
    model, shape = make(kind)
    result = nncf_slb.search_post_training(model, torch.randn(40, *shape), activations=activations, steps=3)
    assert result.bits == {"0": 8, "2": 2, "4": 8}
    path = result.export(tmp_path / "model.xml")
    layers = {layer.name: layer for layer in nncf_slb.inspect_openvino(path).layers}
    for name in ("0", "4"):
        weight = model.get_submodule(name).weight
        is_1x1 = weight.dim() > 2 and set(weight.shape[2:]) == {1}
        table = 256 * 4 if is_1x1 and activations == 32 else 1  # as packed weights of such a layer have
        assert layers[name].weights == weight.numel() and layers[name].stored in ("i8", "u8")
        assert layers[name].bytes <= weight.numel() + 4 * max(weight.shape[:2]) + table + 8
    data = torch.randn(6, *shape)
    verified = nncf_slb.verify_openvino(result.model, path, data.numpy())
    assert verified.passed or verified.by_rounding, verified.to_str()
    if activations == 32:
        with torch.no_grad():
            expected = result.model(data)
        torch.testing.assert_close(IrNetwork(path, properties=EXACT)(data), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", ["GPU", "NPU", "ANY"])
@pytest.mark.parametrize("kind", ["Conv2d", "Linear"])
def test_edges_for_other_devices_are_i8_or_u8(kind, device, tmp_path):
    model, shape = make(kind)
    result = nncf_slb.search_post_training(model, torch.randn(40, *shape), activations=8, steps=2)
    path = result.export(tmp_path / "model.xml", target_device=device)
    stored = {layer.name: layer.stored for layer in nncf_slb.inspect_openvino(path).layers}
    assert stored["0"] in ("i8", "u8") and stored["4"] in ("i8", "u8") and stored["2"] in ("i4", "u4")
    data = torch.randn(6, *shape).numpy()[: 1 if device == "NPU" else None]
    verified = nncf_slb.verify_openvino(result.model, path, data)
    assert verified.passed or verified.by_rounding, verified.to_str()


def test_int8_kernels_do_not_saturate_on_processors_without_vnni(tmp_path):
    """In a process of its own, which reads the limit as it loads the runtime."""
    tests = []
    for kind in NETWORKS:
        model, shape = make(kind)
        path, data = tmp_path / f"{kind}.xml", 4 * torch.randn(64, *shape)
        for place in (0, 4):
            nn.init.trunc_normal_(model[place].weight, std=0.5, a=-1, b=1)
        result = nncf_slb.search_post_training(model, data, activations=8, steps=3)
        result.export(path)
        with torch.no_grad():
            torch.save((data, result.model(data)), path.with_suffix(".pt"))
        tests.append(str(path))
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", _DIFFERENCES, *tests], env=limited, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    differences = dict(zip(NETWORKS, map(float, done.stdout.split()), strict=True))
    assert max(differences.values()) < 0.01, differences


_DIFFERENCES = """
import sys, torch
from nncf_slb.openvino.network import IrNetwork
for path in sys.argv[1:]:
    data, expected = torch.load(path.replace(".xml", ".pt"), weights_only=True)
    given = IrNetwork(path, properties={"INFERENCE_PRECISION_HINT": "f32"})(data)
    print(float((given - expected).norm() / expected.norm()))
"""


@pytest.mark.parametrize("quantized_inputs", [False, True])
@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3), nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Linear(5, 3)])
def test_eight_bits_are_nearer_than_half_a_step_of_the_largest_weight(layer, quantized_inputs):
    codes = eight_bit_codes(layer, quantized_inputs)
    decoded = codes.values[codes.codes.long()].float() * codes.scale
    assert codes.bits == 8 and codes.codes.dtype == torch.uint8
    largest = 64 if quantized_inputs else 127
    assert int(codes.values.abs().max()) == largest
    assert (decoded - layer.weight).square().mean().sqrt() < 0.4 / largest * layer.weight.abs().max()


class Chain(nn.Module):
    """A residual chain that ends without a head, beside an attention module and an embedding."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 8)
        self.image = nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.one, self.two, self.gate = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.never = nn.Linear(8, 8)

    def forward(self, image, words):
        x = self.image(image).flatten(2).transpose(1, 2)
        y = self.words(words)
        x = x + self.attention(x, y, y)[0]
        x = x + self.one(x) * torch.sigmoid(self.gate(x))
        return x + self.two(x)


def test_the_first_and_last_layers_follow_from_what_depends_on_what():
    model = Chain()
    flow = observe(model, lambda: model(torch.randn(2, 3, 16, 16), torch.randint(0, 9, (2, 5))))
    layers = {layer.path: layer for layer in flow.layers}
    assert list(layers) == ["image", "one", "gate", "two"]
    assert [path for path, layer in layers.items() if layer.is_first] == ["image"]
    assert [path for path, layer in layers.items() if layer.is_last] == ["two"]
    assert layers["one"].source == layers["gate"].source != layers["two"].source


class InPlace(nn.Module):
    """Two readers of one tensor, which an operation in place changes in between."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        x = x * 1.0
        y = self.norm(self.one(x))
        return y + self.two(x.relu_())


def test_a_tensor_changed_in_place_is_another_one_and_batch_norm_stands_for_its_layer():
    model = InPlace()
    one, two = observe(model, lambda: model(torch.randn(2, 3, 4, 4))).layers
    assert one.source != two.source and one.observed == "norm" and two.observed == "two"
    assert one.is_first and one.is_last and two.is_first and two.is_last
