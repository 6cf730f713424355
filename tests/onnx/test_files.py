"""Commands on ONNX files: what they print, and files that cannot be used."""

import json
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nncf_slb
from nncf_slb.cli import main
from tests.onnx.chain import images, searched_chain

searched = searched_chain  # MODULE:FUNCTION for the command


@pytest.fixture
def exported(tmp_path):
    ctrl = searched_chain()
    nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    np.save(tmp_path / "images.npy", images().numpy())
    return nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx")


def printed(capsys, *command):
    assert main([*map(str, command), "--json"]) == 0
    out = capsys.readouterr().out
    return json.loads(out[out.index("{") :])


def test_commands_take_the_file(exported, tmp_path, capsys):
    layers = printed(capsys, "inspect", exported)["layers"]
    assert [layer["name"] for layer in layers][:2] == ["stem", "conv"] and layers[1]["stored"] == "planes 2"
    assert main(["inspect", str(exported)]) == 0 and "planes 2" in capsys.readouterr().out
    verify = ["verify", exported, "tests.onnx.test_files:searched", "--data", tmp_path / "images.npy"]
    assert printed(capsys, *verify)["passed"] is True
    assert main([*map(str, verify), "--tolerance", "0"]) == 1 and "OUT OF tolerance" in capsys.readouterr().out
    both = printed(capsys, "benchmark", tmp_path / "m.xml", exported, "--rounds", 2, "--threads", 1)
    assert len(both["timings"]) == 2 and "ONNX Runtime" in both["device"]


def damaged(path, name, change):
    model = onnx.load(path)
    (constant,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    array = numpy_helper.to_array(constant)
    constant.CopyFrom(numpy_helper.from_array(change(array).astype(array.dtype), name))
    onnx.save(model, path)


def one_channel(scale):
    return np.where(np.arange(scale.size).reshape(scale.shape) == 5, 3 * scale, scale)


@pytest.mark.parametrize("activations", [32, 8])
@pytest.mark.parametrize(
    ("constant", "change", "layer"),
    [
        ("conv.plane0", np.bitwise_not, "conv"), ("depthwise.plane1", np.bitwise_not, "depthwise"),
        ("tokens.plane0", np.bitwise_not, "tokens"), ("grouped.scale", lambda scale: 1.5 * scale, "grouped"),
        ("dilated.scale", one_channel, "dilated"), ("up.scale", one_channel, "up"),
        ("stem.int8", np.negative, "stem"), ("head.int8", np.negative, "head"),
    ],
)  # fmt: skip
def test_verify_names_the_layer_whose_weights_are_others(constant, change, layer, activations, tmp_path):
    ctrl = searched_chain(2, activations)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.onnx")
    assert nncf_slb.verify_onnx(ctrl, path, images()).first_layer is None
    constants = [tensor.name for tensor in onnx.load(path).graph.initializer]
    (held,) = {name for name in constants if name.replace(".T.", ".").removesuffix(".1") == constant}
    damaged(path, held, change)
    result = nncf_slb.verify_onnx(ctrl, path, images())
    assert not result.passed and result.first_layer.name == layer
    assert f"first layer out of tolerance: {layer}, largest" in result.to_str()


def test_the_command_fails_where_weights_are_others(exported, capsys):
    damaged(exported, "conv.plane0", np.bitwise_not)
    assert main(["verify", str(exported), "tests.onnx.test_files:searched"]) == 1
    assert "first layer out of tolerance: conv," in capsys.readouterr().out


def foreign(path, external=False):
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])], [weight],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path, save_as_external_data=external, location="weights.bin", size_threshold=0)


def test_other_files_are_one_message_and_exit_status_2(exported, tmp_path, capsys):
    whole = exported.read_bytes()
    (tmp_path / "short.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "text.onnx").write_text("not an ONNX file\n")
    foreign(tmp_path / "foreign.onnx")
    foreign(tmp_path / "external.onnx", external=True)
    assert main(["benchmark", str(tmp_path / "external.onnx"), "--rounds", "1"]) == 0
    (tmp_path / "weights.bin").unlink()
    strange = onnx.load(tmp_path / "foreign.onnx")
    strange.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(strange, tmp_path / "strange.onnx")
    messages = {
        "short": "no complete ONNX file", "empty": "no complete ONNX file", "text": "no complete ONNX file",
        "absent": "there is no such file", "external": "weights.bin, which is missing",
        "foreign": "did not export this file", "strange": "did not export this file",
    }  # fmt: skip
    for name, message in messages.items():
        for command in (["inspect"], ["verify"], ["benchmark"]):
            if command == ["benchmark"] and name in ("foreign", "strange"):
                continue
            more = ["tests.onnx.test_files:searched"] if command == ["verify"] else []
            assert main([*command, str(tmp_path / f"{name}.onnx"), *more]) == 2, (command, name)
            assert message in capsys.readouterr().err, (command, name)
    assert main(["benchmark", str(tmp_path / "strange.onnx")]) == 2
    assert "cannot load it" in capsys.readouterr().err
    assert main(["benchmark", str(tmp_path / "foreign.onnx"), "--rounds", "1", "--batch", "3"]) == 0


def test_damaged_files_are_one_error_or_read_as_they_are(exported, tmp_path, capfd):
    whole, file = exported.read_bytes(), tmp_path / "damaged.onnx"
    numbers = np.random.default_rng(0)
    damages = [whole[: len(whole) * part // 12] for part in range(12)] + [whole[:-1]]
    for _ in range(40):
        changed = bytearray(whole)
        for place in numbers.integers(0, len(whole), 3):
            changed[place] = int(numbers.integers(256))
        damages.append(bytes(changed))
    refused = 0
    for content in damages:
        file.write_bytes(content)
        try:
            nncf_slb.inspect_onnx(file)
        except nncf_slb.OnnxError as error:
            refused += 1
            assert str(file) in str(error)
    assert refused >= 13 and not "".join(capfd.readouterr())


@pytest.mark.parametrize("name", [b"nncf_slb.version", b"depthwise.plane1"])
def test_a_name_that_is_no_text_is_one_error(name, exported):
    exported.write_bytes(exported.read_bytes().replace(name, b"\x8a" + name[1:]))
    with pytest.raises(nncf_slb.OnnxError, match="no complete ONNX file"):
        nncf_slb.inspect_onnx(exported)


def test_another_kind_of_file_with_this_suffix_and_a_folder_are_one_error(exported, tmp_path):
    nncf_slb.save_packed(searched_chain().strip(), tmp_path / "m.safetensors").rename(tmp_path / "packed.onnx")
    (tmp_path / "folder.onnx").mkdir()
    for name, message in (("packed", "no complete ONNX file"), ("folder", "there is no such file")):
        with pytest.raises(nncf_slb.OnnxError, match=message):
            nncf_slb.inspect_onnx(tmp_path / f"{name}.onnx")


def test_a_runtime_that_is_missing_is_named(exported, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["inspect", str(exported)]) == 2
    assert "need the extra 'onnx'" in capsys.readouterr().err
