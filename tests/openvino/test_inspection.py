"""What inspect tells of a file: names, stored types, bytes and kernels, against the file and the network itself."""

import shutil
import subprocess
import sys
from pathlib import Path

import openvino as ov
import pytest

import nncf_slb
from nncf_slb.search.values import packed_size
from tests.openvino.exported import exported_small

FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_layers_bytes_and_effective_bits(bits, tmp_path):
    _, path = exported_small(tmp_path, bits=bits, activations=8)
    inspection = nncf_slb.inspect_openvino(path, properties=FLOAT)
    layers = {layer.name: layer for layer in inspection.layers}
    assert list(layers) == ["first", "second", "head"]
    for name, count, channels in (("first", 72, 8), ("second", 1152, 16), ("head", 160, 10)):
        layer = layers[name]
        assert (layer.weights, layer.stored, layer.searched) == (count, f"u{bits}", True)
        # codes, a float32 scale for each channel, an int8 shift
        assert packed_size(count, bits) + 4 * channels <= layer.bytes <= packed_size(count, bits) + 4 * channels + 4
        assert layer.effective_bits == pytest.approx(8 * layer.bytes / count)
        assert layer.precision in ("u8", "i8")
    assert inspection.bin_bytes == path.with_suffix(".bin").stat().st_size
    saved = sum(4 * layer.weights - layer.bytes for layer in inspection.layers)
    assert inspection.float_bytes == inspection.bin_bytes + saved


def test_the_precision_is_that_of_the_properties_given(tmp_path):
    _, path = exported_small(tmp_path, bits=2)
    precisions = {layer.precision for layer in nncf_slb.inspect_openvino(path, properties=FLOAT).layers[:2]}
    assert precisions == {"f32"}


def test_layers_that_were_not_searched_are_listed_as_such(tmp_path):
    from tests.networks import Small, compress, make_config

    ctrl, model = compress(Small(), make_config([2, 1, 8, 8], {"ignored_scopes": ["{re}first"]}))
    model.eval()
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    layers = nncf_slb.inspect_openvino(path).layers
    assert [layer.searched for layer in layers] == [False, True, True]
    assert (layers[0].stored, layers[0].bytes) == ("f32", 4 * 72)


def test_the_table_names_every_layer_and_the_totals(tmp_path):
    _, path = exported_small(tmp_path)
    text = nncf_slb.inspect_openvino(path).to_str()
    for part in ("first", "second", "head", "u2", "exported for CPU", f"{path.with_suffix('.bin').stat().st_size:,}"):
        assert part in text


@pytest.mark.parametrize(("bits", "activations"), [(1, 1), (2, 8), (2, 32)])
def test_openvinos_own_benchmark_app_runs_the_file_unchanged(bits, activations, tmp_path):
    _, path = exported_small(tmp_path, bits, activations)
    before = path.read_bytes()
    own = shutil.which("benchmark_app", path=str(Path(sys.executable).parent))
    fixed = ov.Core().read_model(path).inputs[0].get_partial_shape().is_static
    command = [own, "-m", str(path), "-niter", "2", "-hint", "none", "-nstreams", "1", "-d", "CPU"]
    result = subprocess.run(
        command + ([] if fixed else ["-data_shape", "[1,1,8,8]"]), capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Throughput:" in result.stdout
    assert path.read_bytes() == before


@pytest.mark.parametrize(("linear", "on"), [("exact", False), ("fastest", True)])
def test_dynamic_quantization_is_off_in_every_file_unless_asked_for(linear, on, tmp_path):
    _, path = exported_small(tmp_path, activations=8, linear=linear)
    inspection = nncf_slb.inspect_openvino(path)
    assert inspection.dynamic_quantization == on
    assert f"dynamic quantization of 32-bit inputs: {'on' if on else 'off'}" in inspection.to_str()
