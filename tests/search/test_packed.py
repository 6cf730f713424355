"""Packed checkpoints: the network that comes out of a file is the one that went in, and bad files are one error."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import nncf_slb
from nncf_slb.cli import main
from nncf_slb.search.bit_planes import from_planes, to_planes
from nncf_slb.search.values import packed_size
from tests.networks import Small, compress, digits, make_config
from tests.plain_networks import DigitsNet, Tokens, TwoInputs, Unusual


class Attention(nn.Module):
    """Projections of `nn.MultiheadAttention`, and a weight that a function uses."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(12, 12)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.mix = nn.Parameter(torch.randn(12, 12))
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        x = torch.relu(self.inside(x))
        x = x + self.attention(x, x, x)[0]
        return self.head(torch.relu(nn.functional.linear(x, self.mix)).mean(1))

    @staticmethod
    def batches(count, samples):
        return [torch.randn(samples, 5, 12) for _ in range(count)]


class Twice(nn.Module):
    """One layer under two names, two layers with one weight, and the root's own class of layer."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(6, 6)
        self.again = self.one
        self.two, self.three = nn.Linear(6, 6), nn.Linear(6, 6)
        self.three.weight = self.two.weight

    def forward(self, x):
        return self.three(torch.relu(self.two(torch.relu(self.again(torch.relu(self.one(x)))))))

    @staticmethod
    def batches(count, samples):
        return [torch.randn(samples, 6) for _ in range(count)]


class Digits(DigitsNet):
    @staticmethod
    def batches(count, samples):
        return [torch.randn(samples, 1, 8, 8) for _ in range(count)]


def stripped(network, bits=2, activations=32, host="torch", edges=8):
    """A network as a search begins, stripped, and a batch."""
    torch.manual_seed(0)
    data = network.batches(2, 6)
    section = {"algorithm": "slb", "weights": {"bits": bits, "edges": edges}, "activations": {"bits": activations}}
    config = {"epochs": 1, "compression": {**section, "openvino": {"dry_export": False}}}
    loader = [(batch, torch.zeros(6)) for batch in data]
    if isinstance(data[0], dict):
        config["input_info"] = [{"sample_size": [6, 6], "keyword": "left"}, {"sample_size": [6, 4], "keyword": "right"}]
        loader = None
    ctrl, _ = nncf_slb.create_compressed_model(network(), config, loader, host=host)
    return ctrl.strip().eval(), data[0]


def outputs(model, batch):
    with torch.no_grad():
        result = model(**batch) if isinstance(batch, dict) else model(batch)
    return list(nncf_slb.flat_outputs(result).values())


def assert_same(one, other, batch):
    for ours, reference in zip(outputs(one, batch), outputs(other, batch), strict=True):
        assert torch.equal(ours, reference)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 7, 8, 27])
def test_planes_give_back_the_codes_in_bits_of_their_width(bits, count):
    codes = torch.randint(0, 2**bits, (count, 1, 3), dtype=torch.uint8)
    planes = to_planes(codes, bits)
    assert torch.equal(from_planes(planes, codes.shape), codes)
    assert planes.nbytes == bits * ((3 * count + 7) // 8)


@pytest.mark.parametrize(
    ("network", "activations"),
    [(Digits, 32), (Digits, 4), (Tokens, 8), (TwoInputs, 32), (Unusual, 1), (Attention, 32), (Twice, 2)],
)
@pytest.mark.parametrize("bits", [1, 3])
def test_the_float_architecture_becomes_the_searched_network_bit_for_bit(network, activations, bits, tmp_path):
    searched, batch = stripped(network, bits, activations)
    path = nncf_slb.save_packed(searched, tmp_path / "folder" / "model.safetensors")
    torch.manual_seed(1)
    loaded = nncf_slb.load_packed(network(), path).eval()
    assert_same(loaded, searched, batch)
    assert loaded.state_dict().keys() == searched.state_dict().keys()
    again = nncf_slb.save_packed(loaded, tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


def test_networks_of_nncf_are_packed_and_those_with_its_quantizers_refused(tmp_path):
    loader, images, _ = digits()
    ctrl, model = compress(Small(), make_config([50, 1, 8, 8], {"activations": {"bits": 8}}), loader)
    path = nncf_slb.save_packed(ctrl.strip(), tmp_path / "m.safetensors")
    assert_same(nncf_slb.load_packed(Small(), path).eval(), model.eval(), images)
    others = [{"algorithm": "quantization", "initializer": {"range": {"num_init_samples": 50}}}]
    edges = {"ignored_scopes": ["{re}first", "{re}head"]}
    others[0]["ignored_scopes"] = ["Small/NNCFConv2d[second]/conv2d_0"]
    composite, _ = compress(Small(), make_config([50, 1, 8, 8], edges, others), loader)
    with pytest.raises(nncf_slb.CheckpointError, match="other tools compute with parts of it"):
        nncf_slb.save_packed(composite.strip(), tmp_path / "n.safetensors")
    assert not (tmp_path / "n.safetensors").exists()


def test_a_file_takes_the_bits_of_its_codes(tmp_path):
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*(nn.Linear(512, 512) for _ in range(4)))
            self.twin = nn.Linear(512, 512)
            self.twin.weight = self.layers[0].weight

        def forward(self, x):
            return self.twin(self.layers(x))

        batches = staticmethod(lambda count, samples: [torch.randn(samples, 512)] * count)

    for bits in (1, 3):
        path = nncf_slb.save_packed(stripped(Wide, bits)[0], tmp_path / f"{bits}.safetensors")
        scales_and_biases = 4 * (4 * 512 + 5 * 512)
        wanted = sum(packed_size(512 * 512, each) for each in (bits, bits, bits, 8)) + scales_and_biases
        assert wanted <= path.stat().st_size <= 1.02 * wanted
        inspection = nncf_slb.inspect_packed(path)
        assert [weight.bits for weight in inspection.weights].count(bits) == 3 and "twin.weight" in inspection.to_str()


def test_loading_needs_torch_and_safetensors_only(tmp_path):
    searched, batch = stripped(Digits, 2, 8)
    path = nncf_slb.save_packed(searched, tmp_path / "m.safetensors")
    save_file({"x": batch, "y": outputs(searched, batch)[0]}, tmp_path / "x.safetensors")
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("nncf", "openvino", "pydantic", "jsonschema", "tabulate", "onnx"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import nncf_slb
from safetensors.torch import load_file
from tests.plain_networks import DigitsNet
x = load_file({str(tmp_path / "x.safetensors")!r})
print(bool((nncf_slb.load_packed(DigitsNet(), {str(path)!r}).eval()(x["x"]) == x["y"]).all()))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.split() == ["True"], run.stderr


def test_wrappers_and_devices_of_the_model_are_kept(tmp_path):
    searched, batch = stripped(Digits, 2, 8)
    path = nncf_slb.save_packed(nn.DataParallel(searched), tmp_path / "m.safetensors")
    wrapped = nn.DataParallel(Digits())
    assert nncf_slb.load_packed(wrapped, path) is wrapped
    assert_same(wrapped.module.eval(), searched, batch)
    compiled = torch.compile(Digits().eval(), backend="eager")
    assert_same(nncf_slb.load_packed(compiled, path), searched, batch)


def test_pack_inspect_and_unpack(tmp_path, capsys, monkeypatch):
    searched, _ = stripped(Digits, 2, 8)
    monkeypatch.setattr(sys.modules[__name__], "made", lambda: searched, raising=False)
    path, plain = str(tmp_path / "m.safetensors"), str(tmp_path / "float.safetensors")
    assert main(["pack", f"{__name__}:made", "-o", path]) == 0
    assert main(["inspect", path, "--json"]) == 0
    printed = capsys.readouterr().out
    inspected = json.loads(printed[printed.index("{") :])
    assert [weight["bits"] for weight in inspected["weights"]] == [8, 2, 2, 8]
    assert {weight["inputs"] for weight in inspected["weights"]} >= {8}
    assert main(["unpack", path, "-o", plain]) == 0
    assert "4 quantizers of inputs are left out" in capsys.readouterr().out
    unpacked = Digits()
    unpacked.load_state_dict(load_file(plain))
    assert torch.equal(unpacked.features[3].weight, searched.features[3].weight)
    assert main(["inspect", plain]) == 2 and "did not pack this file" in capsys.readouterr().err


def changed(path, target, tensors=lambda held: held, settings=lambda held: held):
    """A copy of a packed file with something else in it."""
    with safe_open(path, "pt") as opened:
        of_file = json.loads(opened.metadata()["nncf_slb"])
    save_file(tensors(load_file(path)), target, {"nncf_slb": json.dumps(settings(of_file))})
    return target


def without(name):
    return lambda held: {other: each for other, each in held.items() if other != name}


@pytest.mark.parametrize(
    ("tensors", "settings", "message"),
    [
        (without("head.bias"), dict, r"the file lacks head\.bias"),
        (lambda held: {**held, "more": torch.ones(2)}, dict, "the model lacks more"),
        (lambda held: {**held, "head.bias": torch.ones(3)}, dict, r"float32 \[10\] in the model and float32 \[3\] in"),
        (lambda held: {**held, "head.bias": torch.ones(10).half()}, dict, "float16"),
        (without("features.3.weight.codes"), dict, r"damaged \(it lacks features\.3\.weight\.codes"),
        (lambda held: {**held, "features.3.weight.codes": torch.ones(2, 4)}, dict, "damaged"),
        (lambda held: {**held, "features.3.weight.scale": torch.ones(7, 1, 1, 1)}, dict, "damaged"),
        (lambda held: {**held, "head.weight.codes": held["head.weight.codes"] | 255}, dict, "a code 255"),
        (dict, lambda held: {**held, "format": 2, "version": "9.1"}, "9.1 wrote it in format 2.*newer nncf_slb"),
        (dict, lambda held: {**held, "format": "x"}, "format x"),
        (dict, lambda held: {**held, "weights": {"head.weight": {"bits": 5, "shape": [1]}}}, "damaged"),
        (dict, lambda held: {**held, "weights": [3]}, "damaged"),
        (dict, lambda held: {**held, "same_as": {"head.bias": "absent"}}, "damaged"),
        (dict, lambda held: [1], "damaged"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_one_error_and_leaves_the_model(tensors, settings, message, tmp_path):
    path = nncf_slb.save_packed(stripped(Digits)[0], tmp_path / "m.safetensors")
    bad = changed(path, tmp_path / "bad.safetensors", tensors, settings)
    model = Digits()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(nncf_slb.CheckpointError, match=message):
        nncf_slb.load_packed(model, bad)
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_files_of_other_kinds_and_other_networks_are_one_error(tmp_path):
    path = nncf_slb.save_packed(stripped(Digits)[0], tmp_path / "m.safetensors")
    whole = path.read_bytes()
    (tmp_path / "short.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    torch.save({"a": torch.ones(2)}, tmp_path / "pickle.safetensors")
    save_file({"a": torch.ones(2)}, tmp_path / "foreign.safetensors")
    for name, message in {
        "short": "no complete safetensors file", "empty": "no complete", "pickle": "no complete", "absent": "no such",
        "foreign": "did not pack",
    }.items():  # fmt: skip
        with pytest.raises(nncf_slb.CheckpointError, match=message):
            nncf_slb.load_packed(Digits(), tmp_path / f"{name}.safetensors")
    for model, message in (
        (Tokens(), "the file lacks words.weight"), (stripped(Digits)[0], "low-bit network already"),
        (Digits().half(), "float16"), (Digits().to("meta"), "no numbers yet"),
        ({}, "received dict"), (nn.utils.parametrizations.weight_norm(Digits().head), "the model lacks features"),
    ):  # fmt: skip
        with pytest.raises(nncf_slb.CheckpointError, match=message):
            nncf_slb.load_packed(model, path)


def test_what_cannot_be_packed_is_one_error_and_no_file(tmp_path):
    searched, _ = stripped(Digits)
    searched.forward, wrapped = searched.forward, searched
    for model, name, message in (
        (Digits(), "m.safetensors", "without searched weights"), ({}, "m.safetensors", "received dict"),
        (stripped(Digits)[0], "m.pth", r"end in \.safetensors"), (wrapped, "m.safetensors", "other tools compute"),
    ):  # fmt: skip
        with pytest.raises(nncf_slb.CheckpointError, match=message):
            nncf_slb.save_packed(model, tmp_path / name)
    (tmp_path / "m.safetensors").mkdir()
    with pytest.raises(nncf_slb.CheckpointError, match="allowed are names of files"):
        nncf_slb.save_packed(stripped(Digits)[0], tmp_path / "m.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]
