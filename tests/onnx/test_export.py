"""Exports to ONNX through the public functions: settings, names, sizes, networks of other kinds, what is refused."""

import sys

import onnx
import openvino as ov
import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.cli import main
from nncf_slb.config.errors import ConfigError
from nncf_slb.onnx import export as onnx_export
from nncf_slb.onnx.reading import load_session
from nncf_slb.openvino.low_bit_model import ExportError
from tests.networks import Small, compress, digits, make_config, train
from tests.onnx.chain import assert_close, float_chain, images, search, searched_chain
from tests.plain_networks import Standardized, Tokens, Unusual


def run(path, *batches):
    session = load_session(path)
    return session.run(
        None, {port.name: batch.numpy() for port, batch in zip(session.get_inputs(), batches, strict=True)}
    )


class Attention(nn.Module):
    """Projections of `nn.MultiheadAttention`, a weight that a function uses, and one that two layers share."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.mix = nn.Parameter(torch.randn(12, 12))
        self.one, self.two = nn.Linear(12, 12), nn.Linear(12, 12)
        self.two.weight = self.one.weight
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        x = x + self.attention(x, x, x)[0]
        x = torch.relu(self.two(torch.relu(self.one(nn.functional.linear(x, self.mix)))))
        return self.head(x.mean(1))


@pytest.mark.parametrize(
    ("network", "batch", "activations"),
    [
        (Attention, torch.randn(4, 5, 12), 32),
        (Tokens, torch.randint(0, 20, (4, 6)), 8),
        (Unusual, torch.randn(4, 3, 8, 8), 32),
        (Unusual, torch.randn(4, 3, 8, 8), 8),
    ],
)
@pytest.mark.parametrize("contrib", [False, True])
def test_networks_of_other_kinds(network, batch, activations, contrib, tmp_path):
    torch.manual_seed(0)
    ctrl = search(network(), batch, 3, activations, onnx={"contrib": contrib})
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx")
    verified = nncf_slb.verify_onnx(ctrl, path, batch)
    assert verified.passed and (contrib or activations < 32 or verified.outputs[0].relative < 1e-4)
    kinds = [layer.kernel for layer in nncf_slb.inspect_onnx(path).layers]
    assert ("MatMulNBits" in kinds) == (contrib and network is Attention)


def test_weights_that_layers_share_are_in_the_file_once(tmp_path):
    torch.manual_seed(0)
    path = nncf_slb.export_openvino(search(Attention(), torch.randn(4, 5, 12), 3), tmp_path / "m.onnx")
    names = {tensor.name for tensor in onnx.load(path).graph.initializer if ".plane0" in tensor.name}
    assert {"one.plane0", "mix.plane0"} <= names and "two.plane0" not in names
    layers = [layer.name for layer in nncf_slb.inspect_onnx(path).layers if layer.searched]
    assert {"one", "two", "mix"} <= set(layers)


def test_float_weights_stay_float_beside_quantized_inputs(tmp_path):
    class Network(nn.Module):
        """A weight that is computed with before it is used: its layer has no int8 form."""

        def __init__(self):
            super().__init__()
            self.stem, self.middle, self.out = nn.Conv2d(3, 8, 3), Standardized(8, 8, 3), nn.Conv2d(8, 4, 3)

        def forward(self, x):
            return self.out(torch.relu(self.middle(torch.relu(self.stem(x)))))

    torch.manual_seed(0)
    batch = torch.randn(4, 3, 12, 12)
    ctrl = search(Network(), batch, 2, 8, edges="search")
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx")
    (layer,) = [layer for layer in nncf_slb.inspect_onnx(path).layers if layer.op == "Conv" and layer.name == "middle"]
    assert layer.precision == "float32"  # else the runtime has rounded the weight itself
    assert nncf_slb.verify_onnx(ctrl, path, batch).passed


def test_a_composite_runs_in_int8_as_a_whole(tmp_path):
    torch.manual_seed(0)
    loader, x, _ = digits()
    quantization = {"algorithm": "quantization", "initializer": {"range": {"num_init_samples": 50}}}
    quantization["weights"] = {"ignored_scopes": ["Small/NNCFConv2d[second]/conv2d_0"]}
    section = {"weights": {"bits": 2}, "ignored_scopes": ["{re}first", "{re}head"]}
    ctrl, model = compress(Small(), make_config([50, 1, 8, 8], section, [quantization]), loader)
    train(ctrl, model, loader, 1)
    ctrl.export_model(str(tmp_path / "m.onnx"), save_format="onnx_18")
    assert nncf_slb.verify_onnx(ctrl, tmp_path / "m.onnx", x).outputs[0].relative < 0.01
    layers = nncf_slb.inspect_onnx(tmp_path / "m.onnx").layers
    assert [layer.kernel for layer in layers] == ["QLinearConv", "QLinearConv", "QGemm"]
    assert [layer.stored for layer in layers] == ["int8", "planes 2", "int8"]


def test_names_sizes_and_formats(tmp_path):
    ctrl = searched_chain(2, 8)
    path = tmp_path / "m.onnx"
    ctrl.export_model(str(path), save_format="onnx_20", input_names=["picture"], output_names=["scores"])
    session = load_session(path)
    assert [port.name for port in session.get_inputs()] == ["picture"]
    assert [port.name for port in session.get_outputs()] == ["scores"]
    assert session.get_inputs()[0].shape[1:] == [3, 16, 16] and isinstance(session.get_inputs()[0].shape[0], str)
    assert nncf_slb.inspect_onnx(path).opset == 20
    ctrl.export_model(str(tmp_path / "m.xml"), output_names=["scores"])
    assert "scores" in ov.Core().read_model(tmp_path / "m.xml").outputs[0].get_names()


def test_height_and_width_are_free_where_the_caller_says_so(tmp_path):
    ctrl, model = compress(Small(), make_config([2, 1, 8, 8], {"weights": {"bits": 2}}))
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx", input_shapes=[[-1, 1, -1, -1]])
    for shape in ((1, 1, 8, 8), (3, 1, 10, 17)):
        x = torch.randn(shape)
        assert_close(run(path, x), [model.eval()(x).detach().numpy()])
    fixed = nncf_slb.export_openvino(ctrl, tmp_path / "n.onnx", input_shapes=[[2, 1, 8, 8]])
    assert load_session(fixed).get_inputs()[0].shape == [2, 1, 8, 8]
    assert main(["benchmark", str(path), "--rounds", "1"]) == 2
    assert main(["benchmark", str(path), str(path), "--rounds", "1", "--shape", "2,1,9,9"]) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"opset": 13}, r"opset: received 13; packed weights \(planes\) need .* 18 to 25: save_format onnx_18"),
        ({"opset": 20, "onnx_types": "native"}, r"opsets 21 to 25, or with \"planes\" from 18 on"),
        ({"opset": 99}, "opset: received 99"),
        ({"onnx_types": "codes"}, "onnx_types: received 'codes'; allowed are planes, native"),
        ({"binary_convolution": "always"}, "binary_convolution='always', which files of this kind have no use for"),
        ({"target_device": "NPU", "linear": "fastest"}, "target_device='NPU', linear='fastest'"),
        ({"output_names": ["a", "b"]}, "output_names: received .* network has outputs, 1"),
        ({"input_shapes": [[-1, 3, 9, 16]]}, "input_shapes: received"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_and_leave_the_former_file(settings, message, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"before")
    with pytest.raises(ExportError, match=message):
        nncf_slb.export_openvino(searched_chain(2, 8), path, **settings)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"] and path.read_bytes() == b"before"


@pytest.mark.parametrize(
    ("path", "save_format", "message"),
    [
        ("m.onnx", "onnx_13", "opset: received 13"),
        ("m.onnx", "torchscript", "save_format: received 'torchscript'"),
        ("m.xml", "onnx", "save_format: received 'onnx' for .*m.xml"),
    ],
)
def test_formats_that_cannot_hold_it_are_refused(path, save_format, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        searched_chain(2, 8).export_model(str(tmp_path / path), save_format=save_format)
    assert not list(tmp_path.iterdir())


def test_what_an_ir_has_no_use_for_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"onnx_types='native', which files of this kind have no use for"):
        nncf_slb.export_openvino(searched_chain(2, 8), tmp_path / "m.xml", onnx_types="native")
    assert not list(tmp_path.iterdir())


def test_a_config_for_binary_convolutions_only_is_refused(tmp_path):
    ctrl = search(float_chain(), images(), 1, 8, openvino={"binary_convolution": "always"})
    with pytest.raises(ExportError, match=r'openvino\.binary_convolution: received "always", and ONNX has no binary'):
        nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_the_config_chooses_types_and_contrib(tmp_path):
    ctrl = search(float_chain(), images(), 2, 32, onnx={"types": "native", "contrib": True})
    layers = nncf_slb.inspect_onnx(nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx")).layers
    assert {"uint2", "int8"} == {layer.stored for layer in layers} and "MatMulNBits" in {each.kernel for each in layers}
    with pytest.raises(ConfigError, match=r"onnx\.types"):
        search(float_chain(), images(), onnx={"types": "uint2"})


def test_a_network_too_large_for_one_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "_LARGEST_FILE", 10_000)
    with pytest.raises(ExportError, match=r"ONNX allows 10,000 in one file; export to \.xml"):
        nncf_slb.export_openvino(searched_chain(2, 8), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_operators_that_onnx_lacks_are_one_error(tmp_path):
    class Fourier(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            return torch.fft.fft(self.layer(x)).real

    ctrl = search(Fourier(), torch.randn(2, 8), edges="search")
    with pytest.raises(ExportError, match="cannot be converted to ONNX: .*fft"):
        nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_the_extra_that_is_missing_is_named(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("nncf_slb.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"needs the extra 'onnx': pip install '\.\[onnx\]'"):
        nncf_slb.export_openvino(searched_chain(2, 8), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
