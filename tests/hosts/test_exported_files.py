"""NNCF's tools for IR on exported files: they leave packed layers alone, and 3 bits have a way through them."""

import nncf
import numpy as np
import openvino as ov
import pytest
import torch
from torch import nn

import nncf_slb

FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}
PACKED = ("u1", "u2", "u3", "u4")


class Mixed(nn.Module):
    """Convolutions and Linear layers, of which `stem` and `middle` are not searched."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.conv = nn.Conv2d(16, 32, 3, padding=1)
        self.norm = nn.BatchNorm2d(32)
        self.head, self.middle, self.last = nn.Linear(32, 16), nn.Linear(16, 64), nn.Linear(64, 64)

    def forward(self, x):
        x = self.norm(self.conv(self.stem(x).relu())).relu()
        return self.last(self.middle(self.head(x.mean((2, 3)))))


def images():
    return torch.randn(8, 4, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def exported(folder, bits, activations):
    torch.manual_seed(0)
    section = {"algorithm": "slb", "weights": {"bits": bits}, "ignored_scopes": ["stem", "middle"],
               "initializer": {"batchnorm_adaptation": None}}  # fmt: skip
    if activations < 32:
        section["activations"] = {"bits": activations}
    config = {"input_info": {"sample_size": [4, 3, 12, 12]}, "compression": section}
    ctrl, model = nncf_slb.create_compressed_model(Mixed(), config, example_input=images()[0], host="torch")
    model.train()
    for batch in images():  # quantizers fit themselves
        model(batch)
    model.eval()
    return ctrl, nncf_slb.export_openvino(ctrl, folder / "m.xml")


def integers(model):
    """Type and numbers of integer constants of two dimensions or more, by size and content."""
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    return sorted(
        (node.get_element_type().get_type_name(), np.asarray(node.get_vector()).astype(np.int64).tolist())
        for node in constants
        if node.get_element_type().get_type_name() in PACKED and len(node.get_output_shape(0)) > 1
    )


def outputs(model):
    compiled = ov.compile_model(model, "CPU", FLOAT)
    return np.concatenate([compiled([batch.numpy()])[0] for batch in images()])


def quantize(model):
    names = nncf_slb.packed_operations(model)
    data = nncf.Dataset([batch.numpy() for batch in images()])
    return nncf.quantize(model, data, subset_size=8, ignored_scope=nncf.IgnoredScope(names=names))


def compress(model):
    return nncf.compress_weights(model)


@pytest.mark.parametrize(("bits", "activations"), [(1, 8), (2, 32), (3, 32), (3, 8), (4, 8)])
@pytest.mark.parametrize("tool", [quantize, compress])
def test_what_was_searched_stays_and_the_rest_takes_8_bits(tool, bits, activations, tmp_path):
    ctrl, path = exported(tmp_path, bits, activations)
    before = ov.Core().read_model(path)
    saved = nncf_slb.save_after_nncf(tool(nncf_slb.read_for_nncf(path)), tmp_path / "nncf" / "m.xml")
    after = ov.Core().read_model(saved)
    assert integers(after) == integers(before) and f"u{bits}" in {kind for kind, _ in integers(after)}
    assert saved.with_suffix(".bin").stat().st_size < path.with_suffix(".bin").stat().st_size
    expected = outputs(before)
    assert np.abs(outputs(after) - expected).max() < 0.04 * np.abs(expected).max()
    layers = {layer.name: layer for layer in nncf_slb.inspect_openvino(saved).layers}
    assert {name for name, layer in layers.items() if layer.searched} == {"conv", "head", "last"}
    assert layers["stem"].stored == ("i8" if tool is quantize else "u8")
    assert nncf_slb.verify_openvino(ctrl, saved, images()[0], tolerance=0.04).passed


def test_inputs_of_packed_layers_are_not_quantized_a_second_time(tmp_path):
    _, path = exported(tmp_path, 2, 32)
    model = nncf_slb.read_for_nncf(path)
    packed = set(nncf_slb.packed_operations(model))
    quantized = quantize(model)
    quantizers = [node for node in quantized.get_ops() if node.get_type_name() == "FakeQuantize"]
    readers = {target.get_node().get_friendly_name() for q in quantizers for target in q.output(0).get_target_inputs()}
    assert len(packed) == 3 + 2 * 4 and not readers & packed  # of Linear layers also what corrects the zero point
    assert {name.split("/")[0] for name in readers} & {"__module.stem", "__module.middle"}


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_packed_weights_stay_without_any_names(bits, tmp_path):
    _, path = exported(tmp_path, bits, 32)
    model = ov.Core().read_model(path)
    before = integers(model)
    quantized = nncf.quantize(model, nncf.Dataset([batch.numpy() for batch in images()]), subset_size=8)
    assert set(map(str, before)) <= set(map(str, integers(quantized)))


def test_what_is_read_for_nncf_computes_the_same(tmp_path):
    _, path = exported(tmp_path, 3, 32)
    np.testing.assert_array_equal(outputs(nncf_slb.read_for_nncf(path)), outputs(ov.Core().read_model(path)))


def test_nncf_knows_no_3_bits(tmp_path):
    """`with_nncf.read_for_nncf`; fails on the day when NNCF reads them."""
    _, path = exported(tmp_path, 3, 32)
    with pytest.raises(NotImplementedError, match="not yet supported OpenVINO data type: u3"):
        nncf.compress_weights(ov.Core().read_model(path))


def test_another_network_and_another_name_are_refused(tmp_path):
    _, path = exported(tmp_path, 2, 32)
    other = ov.convert_model(nn.Linear(4, 4), example_input=torch.randn(1, 4))
    with pytest.raises(nncf_slb.SettingError, match="model: received a network that read_for_nncf did not read"):
        nncf_slb.save_after_nncf(other, tmp_path / "other.xml")
    with pytest.raises(nncf_slb.ExportError, match=r"path: received .*; allowed are names that end in \.xml"):
        nncf_slb.save_after_nncf(nncf_slb.read_for_nncf(path), tmp_path / "other.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.bin", "m.xml"]
