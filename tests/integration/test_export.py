"""Exports against the compressed model, as OpenVINO runs them."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import openvino as ov
import pytest
import torch

import nncf_slb
from nncf_slb.openvino.low_bit_model import ExportError
from nncf_slb.search.values import packed_size
from tests.integration.exported import images, infer, packed_types, searched_mixed
from tests.networks import Mixed, Small, compress, digits, make_config, train

VALUES = [("uniform", 1), ("uniform", 2), ("uniform", 3), ("uniform", 4), ("ternary", 2), ("power_of_two", 3)]
OWN_LISTS = [[-1.0, -0.3, 0.4, 1.0], [-np.pi, 1.0, np.sqrt(2)]]
INNER = "{re}\\[(grouped|strided|depthwise|dilated|up|hidden)\\]"


@pytest.mark.parametrize(
    "weights", [{"values": v, "bits": b} for v, b in VALUES] + [{"values": v} for v in OWN_LISTS], ids=str
)
def test_strip_and_ir_equal_the_compressed_model(weights, tmp_path):
    ctrl, model = searched_mixed(weights)
    x, path = images(), tmp_path / "model.xml"
    reference = model(x).detach()
    assert torch.equal(ctrl.strip()(x), reference)
    nncf_slb.export_openvino(ctrl, path)
    np.testing.assert_allclose(infer(path, x)[0], reference.numpy(), atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_bin_holds_packed_types_and_little_else(bits, tmp_path):
    ctrl, model = searched_mixed({"bits": bits})
    path = tmp_path / "model.xml"
    ctrl.export_model(str(path))
    assert packed_types(path) == [f"u{bits}"] * 6
    codes = sum(packed_size(layer.weights, bits) for layer in ctrl.statistics().slb.layers)
    others = sum(p.numel() for n, p in model.named_parameters() if p.requires_grad and "logits" not in n)
    assert codes < path.with_suffix(".bin").stat().st_size <= 1.05 * (codes + 4 * others)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_statistics_count_the_bytes_of_the_codes_in_the_file(bits, tmp_path):
    """9 and 27 weights: no multiple of the 8 codes that share 3 bytes at 3 bits."""
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3), torch.nn.Conv2d(1, 3, 3))
    ctrl, _ = compress(network, make_config([2, 1, 8, 8], {"weights": {"bits": bits}}))
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    stored = [data for data in ElementTree.parse(path).iter("data") if data.get("element_type") == f"u{bits}"]
    assert [layer.bytes for layer in ctrl.statistics().slb.layers] == [int(data.get("size")) for data in stored]


@pytest.mark.parametrize("batchnorm", ["calibrate", "state"])
def test_export_leaves_the_model_bit_for_bit_as_it_was(batchnorm, tmp_path):
    loader, _, _ = digits()
    ctrl, model = compress(Small(), make_config([50, 1, 8, 8], {"params": {"batchnorm": batchnorm}}), loader)
    train(ctrl, model, loader, 1)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = ctrl.get_compression_state()
    ctrl.export_model(str(tmp_path / "model.xml"))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert ctrl.get_compression_state() == state
    assert all(module.training for module in model.modules() if not list(module.children()))


def test_predicted_classes_of_the_ir_equal_pytorchs_on_all_images(tmp_path):
    torch.manual_seed(0)  # two classes within a rounding error of each other are rare, but not impossible
    loader, _, _ = digits()
    ctrl, model = compress(Small(), make_config([50, 1, 8, 8], {"params": {"epochs": 4}}), loader)
    train(ctrl, model, loader, 4)
    x = digits(count=1797)[1]
    reference = model(x).detach()
    path = nncf_slb.export_openvino(ctrl, tmp_path / "model.xml")
    assert np.array_equal(infer(path, x)[0].argmax(1), reference.argmax(1).numpy())


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_composed_quantization_runs_convolutions_in_int8(bits, tmp_path):
    data = torch.utils.data.TensorDataset(torch.randn(32, 1, 12, 12), torch.zeros(32).long())
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    quantization = {
        "algorithm": "quantization",
        "initializer": {"range": {"num_init_samples": 16}, "batchnorm_adaptation": {"num_bn_adaptation_samples": 0}},
        "weights": {"ignored_scopes": [INNER]},
    }
    ctrl, model = searched_mixed({"bits": bits}, [quantization], loader)
    x, path = images(), tmp_path / "model.xml"
    reference = model(x).detach().numpy()
    assert ctrl.statistics().slb.bytes > 0 and ctrl.statistics().quantization is not None
    nncf_slb.export_openvino(ctrl, path)
    result, compiled = infer(path, x, static=True)
    assert np.mean(result.argmax(1) == reference.argmax(1)) == 1
    convolutions = [
        str(op.get_rt_info()["runtimePrecision"].value)
        for op in compiled.get_runtime_model().get_ordered_ops()
        if op.get_rt_info()["layerType"].value == "Convolution"
    ]
    assert len(convolutions) == 5 and set(convolutions) <= {"u8", "i8"}
    assert packed_types(path) == [f"u{bits}"] * 6


def test_onnx_through_the_same_call_gives_the_same_outputs(tmp_path):
    pytest.importorskip("onnx")
    ctrl, model = searched_mixed({"bits": 2})
    path = nncf_slb.export_openvino(ctrl, tmp_path / "model.onnx")
    np.testing.assert_allclose(infer(path, images())[0], model(images()).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_quantized_inputs_survive_onnx(bits, tmp_path):
    pytest.importorskip("onnx")
    loader, x, _ = digits()
    ctrl, model = compress(Small(), make_config([50, 1, 8, 8], {"activations": {"bits": bits}}), loader)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "model.onnx")
    np.testing.assert_allclose(infer(path, x)[0], model.eval()(x).detach().numpy(), atol=1e-4)


def test_a_failed_export_leaves_the_former_files_and_no_others(tmp_path, monkeypatch):
    ctrl, _ = searched_mixed({"bits": 2})
    path = nncf_slb.export_openvino(ctrl, tmp_path / "model.xml")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(ov, "save_model", fail)
    with pytest.raises(ExportError, match="cannot be written .no space left"):
        nncf_slb.export_openvino(ctrl, path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("model", "path", "message"),
    [
        (Mixed(), "m.xml", "without searched weights"),
        (Mixed(), "m.txt", r"allowed are names that end in \.xml or \.onnx"),
    ],
)
def test_wrong_exports_are_refused(model, path, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        nncf_slb.export_openvino(model, tmp_path / path, example_input=images())


class Shared(torch.nn.Module):
    """One layer used twice, and two layers that share one parameter."""

    def __init__(self):
        super().__init__()
        self.twice = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.one = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.other = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.other(self.one(self.twice(self.twice(x).relu()).relu()).relu())


def test_shared_layers_and_parameters_stay_shared(tmp_path):
    ctrl, model = compress(Shared(), make_config([2, 4, 6, 6], {"weights": {"bits": 2}}))
    model.eval()
    x = torch.randn(2, 4, 6, 6)
    assert len(nncf_slb.logits_parameters(model)) == 2
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    np.testing.assert_allclose(infer(path, x)[0], model(x).detach().numpy(), atol=1e-5)


class OneDimensional(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down = torch.nn.Conv1d(3, 8, 5, stride=2, padding=2, padding_mode="circular")
        self.up = torch.nn.ConvTranspose1d(8, 4, 4, stride=2, padding=1, groups=4)

    def forward(self, x):
        return self.up(self.down(x).relu())


class ThreeDimensional(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down = torch.nn.Conv3d(2, 6, 3, padding=1, groups=2)
        self.up = torch.nn.ConvTranspose3d(6, 3, 2, stride=2)

    def forward(self, x):
        return self.up(self.down(x).relu())


@pytest.mark.parametrize(("network", "size"), [(OneDimensional, [2, 3, 16]), (ThreeDimensional, [2, 2, 4, 6, 6])])
def test_layers_of_other_dimensions_are_searched_and_exported(network, size, tmp_path):
    ctrl, model = compress(network(), make_config(size, {"weights": {"bits": 3}}))
    x = torch.randn(*size)
    model.train()
    model(x).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in nncf_slb.logits_parameters(model))
    reference = model.eval()(x).detach()
    assert torch.equal(ctrl.strip()(x), reference)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    np.testing.assert_allclose(infer(path, x)[0], reference.numpy(), atol=1e-5)
    assert packed_types(path) == ["u3", "u3"]
