"""`--json`: each command prints one document, and docs/command-line.md names each of its fields."""

import json
import re
import shlex

import pytest
import torch

import nncf_slb
from nncf_slb.cli import main
from nncf_slb.commands.parser import COMMANDS, make_parser
from tests.commands.running import ROOT, run
from tests.networks import Small
from tests.openvino.exported import exported_small, searched_small
from tests.photos.photographs import PHOTO, ir, repeat, saved

PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
HEADINGS = {re.sub(r"[^\w -]", "", t).replace(" ", "-"): t for t in re.findall(r"^#### (.*)$", PAGE, re.M)}
HEAD = {"schema_version", "command", "exit_status"}
OPEN = {"bits", "full_precision", "config", "schema"}  # objects whose keys are names of layers or of settings
OF_INSPECT = {
    "ir": "inspect {ir}", "onnx": "inspect {onnx}", "packed": "inspect {packed}", "two files": "inspect {ir} {onnx}",
}  # fmt: skip
CALLS = {
    "init": "init -o {folder}/new.json --force --model tests.networks:Small --sample-size 1,1,8,8",
    "check": "check {config} --model tests.networks:Small",
    "quantize": "quantize tests.commands.test_json:to_quantize --steps 2 -o {folder}/q.xml",
    "report": "report {ir} -o {folder}/r.html --no-latency",
    **{f"inspect: {kind}": call for kind, call in OF_INSPECT.items()},
    "verify": "verify {ir} tests.commands.test_json:searched_small",
    "benchmark": "benchmark {ir} --rounds 2",
    "upscale": "upscale {photo} --model {enlarging} -o {folder}/large.png",
    "pack": "pack tests.commands.test_json:searched_small -o {folder}/packed.safetensors",
    "unpack": "unpack {packed} -o {folder}/float.safetensors",
    "schema": "schema",
    "completion": "completion bash",
}


def to_quantize():
    torch.manual_seed(0)
    return Small(), [torch.randn(40, 1, 8, 8) for _ in range(4)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    config = {"input_info": {"sample_size": [1, 1, 8, 8]}, "compression": {"algorithm": "slb"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "enlarging").mkdir()
    return {
        "folder": folder, "config": folder / "config.json", "ir": exported_small(folder)[1],
        "onnx": exported_small(folder, activations=8, name="m.onnx")[1],
        "packed": nncf_slb.save_packed(searched_small().strip(), folder / "m.safetensors"),
        "photo": saved(folder, PHOTO[..., 0]), "enlarging": ir(folder / "enlarging", repeat(2)),
    }  # fmt: skip


def fields(node, path=""):
    """Paths of all values: ``layers[].name``."""
    if isinstance(node, dict) and path.rpartition(".")[2] not in OPEN and node:
        return set().union(*(fields(value, f"{path}.{key}".removeprefix(".")) for key, value in node.items()))
    if isinstance(node, list) and any(isinstance(each, dict | list) for each in node):
        return set().union(*(fields(each, f"{path}[]") for each in node))
    return {path}


def documented(title):
    """Fields in the table under a heading, those of the objects that it names included."""
    found = re.search(rf"^#### {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.M | re.S)
    assert found, title
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", found[1], re.M)
    if not rows:  # the same as under another heading
        return documented(HEADINGS[re.search(r"\]\(#([\w-]+)\)", found[1])[1]])
    objects = {path: [HEADINGS[anchor] for anchor in re.findall(r"\]\(#([\w-]+)\)", text)] for path, text in rows}
    return {path for path, names in objects.items() if not names} | {
        f"{path}.{field}" for path, names in objects.items() for name in names for field in documented(name)
    }


@pytest.mark.parametrize("title", CALLS)
def test_a_command_prints_one_document_with_the_fields_of_the_page(title, files, capsys):
    status = main([*CALLS[title].format(**files).split(), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert (printed["schema_version"], printed["command"], printed["exit_status"]) == (1, title.partition(":")[0], 0)
    assert status == 0 and list(printed)[:3] == ["schema_version", "command", "exit_status"]
    found = fields({key: value for key, value in printed.items() if key not in HEAD})
    assert found == documented(title) or (title == "inspect: two files" and found < documented(title))


def test_every_command_is_called_above():
    assert {title.partition(":")[0] for title in CALLS} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_use_prints_one_document_with_the_error(name, capsys):
    assert main([name, "--no-such-option", "--json"]) == 2
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert {key: printed[key] for key in HEAD} == {"schema_version": 1, "command": name, "exit_status": 2}
    assert fields({"error": printed["error"]}) == documented("errors") and "error: " in captured.err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_is_missing_is_wrong_use(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    calls = {
        "check": "check missing.json", "report": "report missing", "inspect": "inspect missing.xml",
        "verify": "verify missing.xml tests.commands.test_json:searched_small", "benchmark": "benchmark missing.onnx",
        "upscale": "upscale missing.png --model missing.xml -o large.png", "unpack": "unpack missing.safetensors -o f",
        "pack": "pack missing_module:load -o packed.safetensors", "init": "init --model missing_module:load",
        "quantize": "quantize missing_module:load -o m.xml",
    }  # fmt: skip
    if name in calls:
        assert main([*calls[name].split(), "--json"]) == 2
        assert "missing" in json.loads(capsys.readouterr().out)["error"]["message"]
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_that_the_parser_takes(name, capsys):
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    shown = capsys.readouterr().out
    (example,) = re.findall(r"^example:\n  nncf-slb (.*)$", shown, re.M)
    assert left.value.code == 0 and all(len(line) <= 80 for line in shown.splitlines())
    assert make_parser().parse_args(shlex.split(example.partition(" > ")[0])).command == name


def test_what_the_users_code_prints_stays_off_the_document(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import os, sys\nfrom tests.networks import Small\nprint('at import')\n"
        "def load():\n    print('in the function')\n    os.system('echo from a process')\n    return Small()\n"
    )
    config = {"input_info": {"sample_size": [1, 1, 8, 8]}, "compression": {"algorithm": "slb"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = run("check", "config.json", "--model", "mine:load", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["configs"][0]["good"] is True
    assert all(text in done.stderr for text in ("at import", "in the function", "from a process"))


def test_numbers_that_json_has_not_are_null(capsys):
    from nncf_slb.commands.output import document

    printed = json.loads(document("verify", 1, {"largest": float("nan"), "each": [float("inf"), 1.5]}))
    assert printed["largest"] is None and printed["each"] == [None, 1.5]
