"""The sample as its user runs it, on real digits."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

from samples.classification.main import main
from samples.classification.recipes import RECIPES
from samples.classification.trainer import Classification
from samples.training import checkpoint
from samples.training.settings import Settings, SettingsError, check, read_config

ROOT = Path(__file__).resolve().parents[2]
W2 = ROOT / "configs/classification/digits_net_digits_w2a32.json"


def arguments(tmp_path, *more, config=W2, epochs="3"):
    return ["--config", str(config), "--log-dir", str(tmp_path), "--epochs", epochs, "--batch-size", "200", *more]


def test_train_test_and_export(tmp_path, capsys):
    assert main(arguments(tmp_path, "--mode", "train", "test", "export")) == 0
    printed = capsys.readouterr().out
    assert "test top-1" in printed and "full precision: DigitsNet/NNCFConv2d[stem]" in printed
    assert {"last.pth", "best.pth", "model.xml", "model.bin", "metrics.jsonl"} <= {p.name for p in tmp_path.iterdir()}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[-1]["inverse_temperature"] > lines[0]["inverse_temperature"]


def trainer_for(folder, **settings):
    config = {**read_config(W2), "epochs": 4, "batch_size": 200}
    return Classification(Settings(config, folder, **settings))


def test_resumed_run_equals_an_uninterrupted_one(tmp_path):
    whole = trainer_for(tmp_path / "whole")
    whole.fit()
    cut = trainer_for(tmp_path / "cut")
    cut.config["epochs"] = 2  # stops early; schedules were made for 4
    cut.optimizers._epochs = 4
    cut.fit()
    resumed = trainer_for(tmp_path / "cut", resume=tmp_path / "cut" / "last.pth")
    assert resumed.epoch == 2
    resumed.fit()
    expected, received = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(expected[name], received[name]) for name in expected)


def test_ctrl_c_keeps_the_last_epoch_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    original, calls = Classification._train_epoch, []

    def interrupted(self, text):
        calls.append(text)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, text)

    monkeypatch.setattr(Classification, "_train_epoch", interrupted)
    monkeypatch.setattr(sys, "argv", ["main.py", *arguments(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 130
    printed = capsys.readouterr().out
    assert "epoch 1 is saved" in printed and f"--resume {tmp_path}/last.pth" in printed
    monkeypatch.undo()
    assert main(arguments(tmp_path, "--resume", str(tmp_path / "last.pth"))) == 0


def test_all_bad_settings_are_reported_at_once(tmp_path, capsys):
    config = {
        **read_config(W2),
        "model_params": {"activation": "tanh"},
        "optimizer": {"type": "Adamm", "base_lr": -1},
        "compression": {"algorithm": "slb", "weights": {"bits": 9}},
    }
    path = tmp_path / "c.json"
    path.write_text(json.dumps(config))
    assert main(arguments(tmp_path, "--dataset", "mnist", "--weights", "no.pth", config=path, epochs="0")) == 2
    message = capsys.readouterr().err
    named = ('dataset: received "mnist"', "epochs: received 0", "optimizer.type", "optimizer.base_lr: received -1")
    named += ("model_params.activation: received 'tanh'", "weights: received 'no.pth'", "compression.weights.bits")
    for part in named:
        assert part in message


def test_unknown_model_is_an_error_that_names_the_others(tmp_path, capsys):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({**read_config(W2), "model": "resnet21"}))
    assert main(arguments(tmp_path, config=path)) == 2
    assert 'model: received "resnet21"; allowed: one of "digits_net", "small_resnet"' in capsys.readouterr().err


UNMET = {
    "ignored_scopes": (["{re}nothing"], 'compression.ignored_scopes: received "{re}nothing", which no layer matches'),
    "target_scopes": ("conv7", 'compression.target_scopes: received "conv7", which no layer matches'),
    "weights": (
        {"bits": "auto", "budget": {"bytes": 10}}, "compression.weights.budget.bytes: received 10; allowed: at least",
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", UNMET)
def test_scopes_and_budgets_that_cannot_be_met_are_one_line(key, tmp_path, capsys):
    value, line = UNMET[key]
    config = read_config(W2)
    config["compression"][key] = value
    (tmp_path / "c.json").write_text(json.dumps(config))
    assert main(arguments(tmp_path / "run", config=tmp_path / "c.json")) == 2
    assert capsys.readouterr().err.splitlines()[1].strip(" -").startswith(line)
    assert not (tmp_path / "run").exists()


def test_a_scope_of_another_algorithm_that_matches_nothing_is_one_line(tmp_path, capsys):
    config = copy.deepcopy(RECIPES["digits_net_digits_w2a8"])
    index = next(k for k, section in enumerate(config["compression"]) if section["algorithm"] == "quantization")
    config["compression"][index]["ignored_scopes"] = ["{re}nothing"]
    (tmp_path / "c.json").write_text(json.dumps(config))
    assert main(arguments(tmp_path / "run", config=tmp_path / "c.json")) == 2
    line = f'compression[{index}].ignored_scopes[0]: received "{{re}}nothing", which no operation'
    assert line in capsys.readouterr().err


def test_quiet_samples_leave_nncf_the_logger_that_it_needs():
    code = (
        "from nncf_slb.hosts.quiet import quieten; quieten(); "
        "from nncf.common.logging import nncf_logger; nncf_logger.debug_once"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_whole_numbers_may_be_written_with_a_point(tmp_path):
    settings = Settings({**read_config(W2), "epochs": 3.0, "batch_size": 50.0}, tmp_path)
    check(settings, Classification.task)
    assert [type(settings.config[key]) for key in ("epochs", "batch_size")] == [int, int]
    assert list(settings.config.items()) == list({**read_config(W2), "epochs": 3, "batch_size": 50}.items())


def test_another_data_set_brings_its_own_classes_and_shape(tmp_path, capsys):
    command = ["--recipe", "resnet20_cifar10_w2a8", "--dataset", "cifar100", "--print-config"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["dataset"] == "cifar100" and not {"num_classes", "input_info"} & printed.keys()


def test_config_that_is_missing_or_not_json_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="does not exist"):
        read_config(tmp_path / "no.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(SettingsError, match="is not JSON"):
        read_config(tmp_path / "bad.json")


def test_the_best_checkpoint_is_tested_and_exported(tmp_path, monkeypatch, capsys):
    scores = iter([90.0, 10.0])  # of the validation after each epoch: the first network is the better one
    evaluate = Classification.evaluate

    def evaluated(self, batches, text="evaluation"):
        return next(scores) if text == "validation" else evaluate(self, batches, text)

    monkeypatch.setattr(Classification, "evaluate", evaluated)
    float_config = tmp_path / "float.json"
    float_config.write_text(json.dumps(RECIPES["digits_net_digits_float"]))
    own = arguments(tmp_path, "--mode", "train", "test", "export", config=float_config, epochs="2")
    assert main(own) == 0
    printed = capsys.readouterr().out
    config = {**read_config(float_config), "epochs": 2, "batch_size": 200}
    best, last = (
        Classification(Settings(config, tmp_path / name, resume=tmp_path / f"{name}.pth")) for name in ("best", "last")
    )
    assert best.epoch == 1 and f"test top-1 {best.test():.2f}%" in printed
    images, _ = next(iter(best.test_batches()))
    exported = ov.compile_model(tmp_path / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([images.numpy()])[0]
    distances = []
    for trainer in (best, last):
        trainer.model.eval()
        with torch.no_grad():
            distances.append(np.abs(trainer.model(images).numpy() - exported).max())
    assert distances[0] < 1e-3 < distances[1]


def test_a_run_of_other_settings_is_not_gone_on_with(tmp_path, capsys):
    assert main(arguments(tmp_path / "w2", epochs="1")) == 0
    other = {**read_config(W2), "optimizer": {**read_config(W2)["optimizer"], "base_lr": 0.5}, "model": "small_resnet"}
    (tmp_path / "other.json").write_text(json.dumps(other))
    own = arguments(tmp_path / "other", "--resume", str(tmp_path / "w2/last.pth"), config=tmp_path / "other.json")
    assert main(own) == 2
    shown = capsys.readouterr().err
    assert "model: the run had 'digits_net'; received 'small_resnet'" in shown and "'base_lr': 0.5" in shown
    assert main(arguments(tmp_path / "w2", "--resume", str(tmp_path / "w2/last.pth"), epochs="2")) == 0


@pytest.mark.parametrize("damage", ["truncated", "foreign", "code", "lacking"])
def test_unusable_checkpoints_are_refused_by_name(damage, tmp_path, capsys):
    path = tmp_path / "c.pth"
    checkpoint.save({"model": {"a": torch.zeros(1000)}}, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "foreign":
        path.write_bytes(b"hello")
    elif damage == "code":
        torch.save({"model": torch.nn.Linear(1, 1)}, path)
    assert main(arguments(tmp_path, "--resume", str(path))) == 2
    assert str(path) in capsys.readouterr().err


def test_interrupted_save_keeps_the_former_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c.pth"
    checkpoint.save({"model": 1}, path)

    def fail(content, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save({"model": 2}, path)
    assert checkpoint.load(path) == {"model": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.pth"]


def test_two_processes_train_the_same_network(tmp_path):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29533",
        "-m", "samples.classification.main", *arguments(tmp_path, epochs="2"),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("test top-1") == 1
    assert (tmp_path / "best.pth").exists()


def test_script_runs_as_a_file():
    command = [sys.executable, str(ROOT / "samples/classification/main.py"), "--help"]
    assert "--multiprocessing-distributed" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
