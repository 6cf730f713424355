"""The command on exported files: what it prints, and its exit status."""

import json
import subprocess
import sys

import jsonschema
import numpy as np
import pytest
import torch

import nncf_slb
from nncf_slb.cli import main
from tests.networks import digits
from tests.openvino.exported import corrupt_codes, exported_small, searched_small
from tests.plain_networks import DigitsNet

searched = searched_small  # MODULE:FUNCTION for the command
wrong = dict


def test_inspect_prints_a_table_or_json(tmp_path, capsys):
    _, path = exported_small(tmp_path)
    assert main(["inspect", str(path)]) == 0
    assert "second" in capsys.readouterr().out
    assert main(["inspect", str(path), "--json", "--property", "INFERENCE_PRECISION_HINT=f32"]) == 0
    printed = json.loads(capsys.readouterr().out)
    found = nncf_slb.inspect_openvino(path, properties={"INFERENCE_PRECISION_HINT": "f32"}).to_dict()
    head = {"schema_version": 1, "command": "inspect", "exit_status": 0}
    assert printed == {**head, **json.loads(json.dumps(found))}
    assert [layer["name"] for layer in printed["layers"]] == ["first", "second", "head"]


def test_verify_exits_with_1_when_out_of_tolerance(tmp_path, capsys):
    _, path = exported_small(tmp_path)
    np.save(tmp_path / "images.npy", digits()[1].numpy())
    command = ["verify", str(path), "tests.test_cli:searched", "--data", str(tmp_path / "images.npy")]
    assert main(command) == 0
    assert "within tolerance" in capsys.readouterr().out
    np.savez(tmp_path / "images.npz", images=digits()[1].numpy())
    assert main([*command[:-1], str(tmp_path / "images.npz"), "--tolerance", "0"]) == 1
    corrupt_codes(path, "second")
    capsys.readouterr()
    assert main([*command, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["passed"] is False and printed["first_layer"]["name"] == "second_bn"


def test_benchmark_compares_files(tmp_path, capsys):
    _, path = exported_small(tmp_path)
    assert main(["benchmark", str(path), str(path), "--rounds", "3", "--threads", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["timings"]) == 2 and printed["threads"] == 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["inspect", "absent.xml"], "absent.xml: there is no such file"),
        (["inspect", "{ir}", "--property", "HINT"], "--property: received HINT; write NAME=VALUE"),
        (["verify", "{ir}", "tests.test_cli"], "write MODULE:FUNCTION"),
        (["verify", "{ir}", "no.such.module:f"], "cannot be imported"),
        (["verify", "{ir}", "tests.test_cli:no_such"], "has no function no_such"),
        (["verify", "{ir}", "tests.test_cli:wrong"], "cannot be verified (model: received dict; allowed are"),
        (["verify", "{ir}", "tests.test_cli:searched", "--data", "{ir}"], "is no readable .npy or .npz file"),
        (["benchmark", "{ir}", "absent.xml"], "absent.xml: there is no such file"),
        (["benchmark", "{ir}", "--rounds", "0"], "rounds: received 0"),
    ],
)
def test_what_cannot_be_used_is_one_message_and_exit_status_2(command, message, tmp_path, capsys):
    _, path = exported_small(tmp_path)
    assert main([part.replace("{ir}", str(path)) for part in command]) == 2
    assert message in capsys.readouterr().err


def test_json_is_all_that_stands_on_the_standard_output(tmp_path):
    _, path = exported_small(tmp_path)
    command = [sys.executable, "-m", "nncf_slb.cli", "inspect", str(path), "--json"]
    assert json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["layers"]


def test_schema_command_prints_the_schema_that_nncf_checks_with(capsys):
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate({"algorithm": "slb"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"algorithm": "slb", "weights": {"bits": 5}}, schema)


def test_schema_command_prints_nothing_but_json():
    assert (
        json.loads(
            subprocess.run([sys.executable, "-m", "nncf_slb.cli", "schema"], capture_output=True, text=True).stdout
        )["additionalProperties"]
        is False
    )


def test_nncfs_own_schema_message_never_reaches_the_user():
    from nncf import NNCFConfig

    for compression in (
        {"algorithm": "slb", "bits": 2},
        [{"algorithm": "slb", "bits": 2}, {"algorithm": "quantization"}],
    ):
        with pytest.raises(nncf_slb.ConfigError) as caught:
            NNCFConfig.from_dict({"compression": compression})
        assert "not valid under any" not in str(caught.value) and "weights.bits" in str(caught.value)


def load_to_quantize():
    torch.manual_seed(0)
    return DigitsNet(), [(torch.randn(40, 1, 8, 8), None) for _ in range(4)], lambda network: 12.5


def load_the_wrong_way_round():
    return load_to_quantize()[1::-1]


def load_with_failure():
    raise KeyError("weights.pt")


def load_nothing():
    return DigitsNet()


def load_and_end():
    sys.exit(0)


def test_a_module_that_ends_the_program_is_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_script.py").write_text(
        "import sys\ndef load(): pass\nassert sys.argv == ['a_script']\nsys.exit(0)\n"
    )
    for name, message in (("a_script:load", "put that under if __name__"), ("tests.test_cli:load_and_end", "ends the")):
        assert main(["quantize", name, "-o", "model.xml"]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("error: load: ") and message in shown and "SystemExit 0" in shown


def test_quantize_writes_a_file_and_ends_with_one_table(tmp_path, capsys):
    path = tmp_path / "made" / "model.xml"
    command = ["quantize", "tests.test_cli:load_to_quantize", "--steps", "10", "--activations", "8", "-o", str(path)]
    assert main([*command, "--bits", "3"]) == 0
    captured = capsys.readouterr()
    rows = [line.split() for line in captured.out.splitlines()]
    assert [row[0] for row in rows[2:6]] == ["float", "nearest", "searched", "model.xml"]
    assert rows[5][3:5] == ["12.50", f"{path.with_suffix('.bin').stat().st_size:,}"]
    assert "3 bits in features.3, features.6; 8 bits in features.0, head" in captured.out
    assert "times as fast" in captured.out and "step 10 of 10, 0 s left" in captured.err
    assert {layer.stored for layer in nncf_slb.inspect_openvino(path).layers} == {"u3", "i8"}


def test_quantize_writes_onnx(tmp_path, capsys):
    path = tmp_path / "model.onnx"
    command = ["quantize", "tests.test_cli:load_to_quantize", "--steps", "2", "--no-latency", "-o", str(path)]
    assert main([*command, "--onnx-types", "native"]) == 0
    assert f"{path} written" in capsys.readouterr().out
    assert {layer.stored for layer in nncf_slb.inspect_onnx(path).layers} >= {"uint2"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tests.test_cli:load_nothing"], "returns DigitsNet; allowed are (model, batches)"),
        (["tests.test_cli:load_the_wrong_way_round"], "returns list, DigitsNet; allowed are (model, batches)"),
        (["tests.test_cli:load_with_failure"], "fails (KeyError: 'weights.pt')"),
        (["tests.test_cli:missing"], "has no function missing"),
        (["tests.test_cli:load_to_quantize", "--bits", "5"], "weights.bits: received 5"),
        (["tests.test_cli:load_to_quantize", "--edges", "none"], 'weights.edges: received "none"'),
        (["tests.test_cli:load_to_quantize", "--edges", "²"], "weights.edges: received"),
        (["tests.test_cli:load_to_quantize", "--steps", "1e3"], "received '1e3'; allowed is a whole number"),
        (["tests.test_cli:load_to_quantize", "--max-drop", "1%"], "received '1%'; allowed is a number"),
        (["tests.test_cli:load_to_quantize", "--budget-bytes", "10"], "budget.bytes: received 10"),
        (["tests.test_cli:load_to_quantize", "--bits", "3", "--budget-bytes", "5000"], "weights.budget: received"),
        (["tests.test_cli:load_to_quantize", "--checkpoint", "/proc/c.pt"], "checkpoint: received /proc/c.pt"),
        (
            ["tests.test_cli:load_to_quantize", "--steps", "2", "-o", "/proc/model.xml"],
            "--output: received /proc",
        ),
        (["tests.test_cli:load_to_quantize", "--config", "missing.json"], "'missing.json' does not exist"),
        (["tests.test_cli:load_to_quantize", "--steps", "2", "-o", "model.pth"], "names that end in .xml or .onnx"),
        (["tests.test_cli:load_to_quantize", "--onnx-types", "native", "-o", "m.xml"], "allowed with .onnx only"),
    ],
)
def test_what_quantize_cannot_use_is_one_message(arguments, message, tmp_path, capsys):
    output = [] if "-o" in arguments else ["-o", str(tmp_path / "model.xml")]
    assert main(["quantize", *arguments, *output]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())
