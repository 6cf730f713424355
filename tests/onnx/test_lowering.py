"""Every pair of bits on every kind of layer: what the file holds, what runs, and how exactly."""

import openvino as ov
import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.onnx.reading import load_session
from tests.onnx.chain import (
    CONVOLUTIONS,
    assert_close,
    assert_close_but_for_borders,
    images,
    outputs,
    search,
    searched_chain,
)

WEIGHTS, ACTIVATIONS = (1, 2, 3, 4), (1, 2, 4, 8, 32)


def run(path, batch, optimize=True):
    session = load_session(path, optimize=optimize)
    return session.run(None, {session.get_inputs()[0].name: batch.numpy()})


@pytest.mark.parametrize("activations", ACTIVATIONS)
@pytest.mark.parametrize("bits", WEIGHTS)
def test_the_file_is_the_network_and_runs_on_int8_kernels(bits, activations, tmp_path):
    ctrl = searched_chain(bits, activations)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx")
    reference = outputs(ctrl.strip().eval(), images())
    assert_close_but_for_borders(run(path, images(), optimize=False), reference, 1e-4)
    verified = nncf_slb.verify_onnx(ctrl, path, images())
    assert verified.passed or (activations < 32 and verified.by_rounding), verified.to_str()
    assert activations < 32 or verified.outputs[0].relative < 1e-4, verified.to_str()
    layers = {layer.name: layer for layer in nncf_slb.inspect_onnx(path).layers}
    assert len(layers) == 13 and all(layer.code_bits for layer in layers.values())
    weights = {name: layer for name, layer in layers.items() if name not in ("stem", "head")}
    assert {layer.stored for layer in weights.values()} == {f"planes {bits}"}
    assert layers["conv"].bytes < 24 * 24 * 9 * bits / 8 + 250
    kernels = {name: layer.kernel for name, layer in layers.items()}
    if activations == 32:
        assert {layer.precision for layer in weights.values()} == {"float32"}
    else:  # a sign is no quantization that QLinearConv could write
        expected = {"QLinearConv"} if activations > 1 else {"Conv", "FusedConv"}
        assert {kernels[name] for name in CONVOLUTIONS} <= expected
        assert kernels["tokens"] == "MatMulIntegerToFloat" and kernels["vector"] == "QGemm"
        assert kernels["up"] == "ConvTranspose"


@pytest.mark.parametrize(("bits", "activations"), [(1, 8), (2, 32), (3, 4), (4, 2)])
def test_openvino_reads_the_file_too(bits, activations, tmp_path):
    ctrl = searched_chain(bits, activations)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx")
    compiled = ov.compile_model(ov.Core().read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    reference = outputs(ctrl.strip().eval(), images())
    assert_close_but_for_borders([compiled([images().numpy()])[0]], reference, 1e-4 if activations == 32 else 0.05)


@pytest.mark.parametrize(
    ("bits", "opset", "stored"),
    [(1, None, "uint2"), (2, None, "uint2"), (2, 21, "uint4"), (3, None, "uint4"), (4, 23, "uint4")],
)
@pytest.mark.parametrize("activations", [8, 32])
def test_native_types(bits, opset, stored, activations, tmp_path):
    ctrl = searched_chain(bits, activations)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx", onnx_types="native", opset=opset)
    assert_close_but_for_borders(run(path, images(), optimize=False), outputs(ctrl.strip().eval(), images()), 1e-4)
    inspection = nncf_slb.inspect_onnx(path)
    assert inspection.opset == (opset or (25 if bits < 3 else 21))
    assert {layer.stored for layer in inspection.layers} == {stored, "int8"}
    assert ("QLinearConv" in {layer.kernel for layer in inspection.layers}) == (activations == 8)


@pytest.mark.parametrize("bits", WEIGHTS)
@pytest.mark.parametrize("inputs", [(5, 70), (256,)])
def test_contrib_keeps_linear_layers_packed_while_they_run(bits, inputs, tmp_path):
    torch.manual_seed(0)
    batch = torch.randn(6, *inputs)
    network = nn.Sequential(nn.Linear(inputs[-1], 48), nn.GELU(), nn.Linear(48, 20), nn.GELU(), nn.Linear(20, 4))
    ctrl = search(network, batch, bits)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx", onnx_contrib=True)
    layers = nncf_slb.inspect_onnx(path).layers
    assert [layer.kernel for layer in layers][1] == "MatMulNBits"
    assert layers[1].stored == f"uint{bits + bits % 2}"
    assert_close(run(path, batch), outputs(ctrl.strip().eval(), batch), 0.04)  # it rounds its inputs to 8 bits
    assert nncf_slb.verify_onnx(ctrl, path, batch).passed
