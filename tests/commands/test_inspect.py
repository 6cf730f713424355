"""`nncf-slb inspect` of two files: each layer in one row, what differs beside each other."""

import json

import pytest
import torch

import nncf_slb
from nncf_slb.cli import main
from tests.openvino.exported import exported_small, searched_small
from tests.plain_networks import DigitsNet


def compared(capsys, *files):
    assert main(["inspect", *map(str, files), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    return printed, {layer["name"]: layer for layer in printed["layers"]}


def test_layers_of_two_irs_stand_side_by_side(tmp_path, capsys):
    a, b = (exported_small(tmp_path, bits, name=f"{bits}.xml")[1] for bits in (2, 3))
    printed, layers = compared(capsys, a, b)
    assert list(layers) == ["first", "second", "head"] and [each["path"] for each in printed["files"]] == [
        str(a),
        str(b),
    ]
    for name, layer in layers.items():
        own = [next(x for x in file["layers"] if x["name"] == name) for file in printed["files"]]
        assert layer["change"] == "changed" and {"bits", "stored", "bytes"} <= set(layer["fields"])
        assert [layer[side]["bytes"] for side in "ab"] == [each["bytes"] for each in own]
        assert [layer[side]["bits"] for side in "ab"] == [2, 3]
    assert main(["inspect", str(a), str(b)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith(f"({b.with_suffix('.bin').stat().st_size - a.with_suffix('.bin').stat().st_size:+,})")
    columns = {line.index(" -> ") for line in lines if line.startswith(("first", "second", "head"))}
    assert len(columns) == 1 and all("2 -> 3" in line and "u2 -> u3" in line for line in lines[4:7])
    assert all(len(line) <= 80 for line in lines[2:])


def test_a_file_is_the_same_as_itself(tmp_path, capsys):
    _, path = exported_small(tmp_path)
    _, layers = compared(capsys, path, path)
    assert {layer["change"] for layer in layers.values()} == {"same"} and not any(x["fields"] for x in layers.values())
    assert main(["inspect", str(path), str(path)]) == 0
    shown = capsys.readouterr().out
    assert "->" not in shown and "3 same" in shown and "biases are the same" in shown


def test_files_alike_in_all_numbers_but_not_in_their_weights_are_told_apart(tmp_path, capsys):
    stripped = searched_small().strip()
    a = nncf_slb.export_openvino(stripped, tmp_path / "a.xml", example_input=torch.zeros(1, 1, 8, 8))
    with torch.no_grad():
        stripped.get_parameter("head.bias").add_(1.0)
    b = nncf_slb.export_openvino(stripped, tmp_path / "b.xml", example_input=torch.zeros(1, 1, 8, 8))
    printed, layers = compared(capsys, a, b)
    assert {layer["change"] for layer in layers.values()} == {"same"} and not printed["same_bytes"]
    assert main(["inspect", str(a), str(b)]) == 0
    assert "not the same, byte for byte" in capsys.readouterr().out


def test_layers_of_other_networks_are_in_one_file_only(tmp_path, capsys):
    _, path = exported_small(tmp_path)
    ctrl, _ = nncf_slb.create_compressed_model(
        DigitsNet(), {"input_info": {"sample_size": [1, 1, 8, 8]}, "compression": {"algorithm": "slb"}}, host="torch"
    )
    other = nncf_slb.export_openvino(ctrl, tmp_path / "other.xml")
    _, layers = compared(capsys, path, other)
    assert layers["first"]["change"] == "only in a" and layers["first"]["b"] is None
    assert layers["features.3"]["change"] == "only in b" and layers["features.3"]["a"] is None
    assert layers["head"]["change"] == "changed"


def test_packed_checkpoints_and_onnx_files_are_compared_with_irs(tmp_path, capsys):
    _, path = exported_small(tmp_path)
    _, onnx = exported_small(tmp_path, name="m.onnx")
    packed = nncf_slb.save_packed(searched_small().strip(), tmp_path / "m.safetensors")
    for other in (onnx, packed):
        _, layers = compared(capsys, path, other)
        assert list(layers) == ["first", "second", "head"]
        assert all(layer["a"]["bits"] == layer["b"]["bits"] == 2 for layer in layers.values())
    assert layers["first"]["b"]["kernel"] is None


@pytest.mark.parametrize("count", [3, 4])
def test_more_than_two_files_are_wrong_use(count, tmp_path, capsys):
    _, path = exported_small(tmp_path)
    assert main(["inspect", *[str(path)] * count]) == 2
    assert f"file: received {count} files; allowed are one, or two to compare" in capsys.readouterr().err
