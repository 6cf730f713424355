"""Wrong config files: one line for each problem that names the setting, exit status 2, nothing on the disk."""

import copy
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nncf_slb.cli import main as nncf_slb_main
from samples.classification import main as classification
from samples.classification.recipes import RECIPES as CLASSIFICATION
from samples.super_resolution import main as super_resolution
from samples.super_resolution.recipes import RECIPES as SUPER_RESOLUTION
from samples.training.trainer import Trainer
from tests.samples.wrong_settings import INFINITY, REMOVED, WRONG

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {"c": CLASSIFICATION["digits_net_digits_w2a8"], "s": SUPER_RESOLUTION["espcn_w2a8"]}
MAINS = {"c": classification.main, "s": super_resolution.main}


def changed(config, path, value):
    config = copy.deepcopy(config)
    node = config
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    if value is REMOVED:
        del node[last]
    else:
        node[last] = value
    return config


def run(sample, path, capsys):
    """Lines that the sample's command prints about a file; it must not begin a training."""
    log_dir = path.parent / "run"
    assert MAINS[sample](["--config", str(path), "--log-dir", str(log_dir), "--device", "cpu"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown and not log_dir.exists()
    return [line.strip() for line in shown.splitlines()[1:]]


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    def trained(*_):
        raise AssertionError("a training began")

    monkeypatch.setattr(Trainer, "__init__", trained)
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(("sample", "setting", "value", "named"), WRONG)
def test_a_wrong_setting_is_one_line_that_names_it(sample, setting, value, named, tmp_path, capsys):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(changed(RECIPES[sample], setting, value)))
    shown = run(sample, path, capsys)
    expected = named or re.sub(r"\.(\d+)", r"[\1]", setting)
    assert [line.split(": ")[0] for line in shown] == [expected], shown
    assert nncf_slb_main(["check", str(path)]) == 1
    assert [line.removeprefix("- ") for line in capsys.readouterr().out.splitlines()[1:]] == shown


TEXTS = {
    "{": "is not JSON",
    "[]": "must hold one JSON object",
    "": "is not JSON",
    "null": "must hold one JSON object",
    "\x00\xff": "is not JSON",
    "[" * 100_000: "is not JSON",
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_file_that_holds_no_json_object_is_one_line(text, tmp_path, capsys):
    path = tmp_path / "c.json"
    path.write_bytes(text.encode("latin-1"))
    assert classification.main(["--config", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert nncf_slb_main(["check", str(path)]) == 1
    title, problem = capsys.readouterr().out.splitlines()
    assert title == f"{path}: 1 problem in the config:"
    for shown in (line, problem):
        assert str(path) in shown and TEXTS[text] in shown


def test_keys_that_stand_twice_are_named(tmp_path, capsys):
    path = tmp_path / "c.json"
    text = (
        json.dumps(RECIPES["c"]).replace('"epochs":', '"epochs": 3, "epochs":').replace('"bits":', '"bits": 1, "bits":')
    )
    path.write_text(text)
    lines = run("c", path, capsys)
    assert [line.split(";")[0] for line in lines] == [
        "epochs: received twice", "compression[0].weights.bits: received twice",
    ]  # fmt: skip


def test_all_problems_of_a_file_are_named_at_once(tmp_path, capsys):
    config = changed(RECIPES["c"], "compresion", {})
    for setting, value in (("epochs", "x"), ("optimizer.base_lr", INFINITY), ("compression.1.preset", "fast")):
        config = changed(config, setting, value)
    config = changed(changed(config, "compression.0.weights.bits", 9), "model_params", {"activation": "tanh"})
    path = tmp_path / "c.json"
    path.write_text(json.dumps(config))
    named = {line.split(":")[0] for line in run("c", path, capsys)}
    assert named == {
        "compresion", "epochs", "optimizer.base_lr", "compression[1].preset", "compression[0].weights.bits",
        "model_params.activation",
    }  # fmt: skip


def test_a_misspelled_key_is_answered_with_the_nearest_one(tmp_path, capsys):
    nearest = {
        "compresion": "compression",
        "optimiser": "optimizer",
        "batchsize": "batch_size",
        "base_lr": "optimizer.base_lr",
    }
    for key, near in nearest.items():
        path = tmp_path / "c.json"
        path.write_text(json.dumps({**RECIPES["c"], key: RECIPES["c"].get(near, 1)}))
        (line,) = run("c", path, capsys)
        assert line.endswith(f"did you mean {near}?")


def test_check_leaves_the_keys_of_other_programs_alone_and_names_misspelled_ones(tmp_path, capsys):
    path = tmp_path / "c.json"
    config = {"compression": {"algorithm": "slb"}, "num_workers": 4, "optimizer": "adam", "learning_rate": "high"}
    path.write_text(json.dumps(config))
    assert nncf_slb_main(["check", str(path)]) == 0
    path.write_text(json.dumps({**config, "target_devise": "CPU", "epochs": "many", "input_info": {}, "log_dir": 3}))
    capsys.readouterr()
    assert nncf_slb_main(["check", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(":")[0] for line in lines] == [
        "- log_dir",
        "- epochs",
        "- input_info.sample_size",
        "- target_devise",
    ]


@pytest.mark.parametrize("sample", MAINS)
def test_print_config_prints_nothing_but_the_recipe(sample):
    name = {"c": "digits_net_digits_w2a8", "s": "espcn_w2a8"}[sample]
    module = {"c": "classification", "s": "super_resolution"}[sample]
    command = [sys.executable, "-m", f"samples.{module}.main", "--recipe", name, "--print-config", "--epochs", "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == {**RECIPES[sample], "epochs": 3}


def test_recipes_are_listed_and_unknown_ones_answered_with_the_nearest(capsys):
    assert classification.main(["--list-recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(start in listed for start in CLASSIFICATION.starts) and max(map(len, listed.splitlines())) <= 100
    assert classification.main(["--recipe", "resnet20_cifar10_w2a3"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: recipe: received 'resnet20_cifar10_w2a3'; did you mean resnet20_cifar10_w2a")


def test_a_recipe_can_be_changed_without_changing_the_next_one():
    CLASSIFICATION["digits_net_digits_w2a8"]["compression"][1]["initializer"]["range"]["num_init_samples"] = 1
    assert RECIPES["c"] == CLASSIFICATION["digits_net_digits_w2a8"]


def test_a_scope_that_would_hang_is_refused_at_once(tmp_path):
    started = time.perf_counter()
    path = tmp_path / "c.json"
    path.write_text(
        json.dumps({"compression": {"algorithm": "slb", "ignored_scopes": ["{re}(a+)+(b+)+$" + ".*x" * 20]}})
    )
    assert nncf_slb_main(["check", str(path)]) == 1
    assert time.perf_counter() - started < 5
