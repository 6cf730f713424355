"""What an interruption leaves, and how runs go on from there: to the bits of a run that nothing interrupted."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from samples.classification.main import main
from samples.classification.recipes import RECIPES
from samples.classification.trainer import Classification
from samples.training import checkpoint
from samples.training.saving import SaveEvery

ROOT = Path(__file__).resolve().parents[2]
RECORDED = {"run.json", "metrics.jsonl", "results.jsonl", "tensorboard"}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def write_config(folder, **settings):
    """Small search on digits; a dry export would start threads, which no fork carries along."""
    config = {**RECIPES["digits_net_digits_w2a32"], "batch_size": 100, "epochs": 2, **settings}
    config["compression"] = {**config["compression"], "openvino": {"dry_export": False}}
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


def assert_same(left, right):
    """Two checkpoints or parts of them are the same to the bit."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for each, other in zip(left, right, strict=True):
            assert_same(each, other)
    else:
        assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right


def assert_same_runs(whole, other):
    for name in ("last.pth", "best.pth"):
        assert_same(checkpoint.load(whole / name), checkpoint.load(other / name))
    assert (whole / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert sorted(p.name for p in whole.iterdir()) == sorted(p.name for p in other.iterdir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Command of a run, and the folder where nothing interrupted it."""
    folder = tmp_path_factory.mktemp("whole")
    own = ["--config", str(write_config(folder)), "--mode", "train"]
    assert main([*own, "--log-dir", str(folder / "log")]) == 0
    return own, folder / "log"


def go_on(whole, folder, resume=None):
    own, expected = whole
    assert main([*own, "--log-dir", str(folder), "--resume", str(resume or folder / "last.pth")]) == 0
    assert_same_runs(expected, folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_saves(number, whole, tmp_path, monkeypatch, capsys):
    step = Classification._train_step

    def interrupted(self, inputs, targets, text):
        if (self.epoch, self.step) == (1, 4):
            os.kill(os.getpid(), number)
        return step(self, inputs, targets, text)

    monkeypatch.setattr(Classification, "_train_step", interrupted)
    with pytest.raises(SystemExit) as stopped:
        main([*whole[0], "--log-dir", str(tmp_path)])
    assert stopped.value.code == 128 + number
    printed = capsys.readouterr()
    assert "step 5 of epoch 2 is saved" in printed.out and f"--resume {tmp_path}/last.pth" in printed.out
    assert not printed.err
    monkeypatch.undo()
    go_on(whole, tmp_path)


def test_a_signal_while_a_checkpoint_is_written_loses_nothing(whole, tmp_path, monkeypatch):
    sync, calls = os.fsync, []

    def interrupted(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(SystemExit):
        main([*whole[0], "--log-dir", str(tmp_path), "--save-every", "5"])
    monkeypatch.undo()
    go_on(whole, tmp_path)


def test_ctrl_c_while_the_run_is_made_is_no_traceback(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Classification, "_load_data", lambda self: os.kill(os.getpid(), signal.SIGTERM))
    assert main([*whole[0], "--log-dir", str(tmp_path / "run")]) == 143
    printed = capsys.readouterr()
    assert "Interrupted" in printed.out and not printed.err and not (tmp_path / "run").exists()


def test_a_real_process_ends_cleanly_on_sigterm(whole, tmp_path):
    command = [
        sys.executable,
        "-m",
        "samples.classification.main",
        *whole[0],
        "--log-dir",
        str(tmp_path),
        "--epochs",
        "9999",
    ]
    run = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert "epoch 1/9999" in run.stdout.readline()
    run.terminate()
    printed, errors = run.communicate()
    assert run.returncode == 143 and "is saved. To go on" in printed and not errors
    assert {path.name for path in tmp_path.iterdir()} <= {"last.pth", "best.pth", *RECORDED}


@pytest.mark.parametrize("limit", [100, 300_000])
def test_a_full_disk_is_one_line_and_the_former_checkpoint_stays(limit, whole, tmp_path, capsys):
    own, folder = whole[0], tmp_path / "log"
    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classification, "_is_interrupted", lambda self: self.epoch == 1)  # after the first epoch
        main([*own, "--log-dir", str(folder)])
    before = (folder / "last.pth").read_bytes()
    capsys.readouterr()
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        status = main([*own, "--log-dir", str(folder), "--save-every", "5", "--resume", str(folder / "last.pth")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    errors = capsys.readouterr().err.splitlines()
    assert status == 2 and len(errors) == 1 and "cannot be written (File too large)" in errors[0]
    assert "holds epoch 1" in errors[0] and (folder / "last.pth").read_bytes() == before
    go_on(whole, folder)


def test_metrics_of_later_epochs_and_cut_lines_go_at_resume(whole, tmp_path):
    own, folder = whole[0], tmp_path / "log"
    with pytest.raises(SystemExit), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classification, "_is_interrupted", lambda self: self.epoch == 1)
        main([*own, "--log-dir", str(folder)])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "loss": 0.5}\n{"epoch": 1}\n{"epoch": 3, "lo')
    go_on(whole, folder)


def test_a_new_run_takes_the_place_of_a_former_one(whole, tmp_path):
    own, expected = whole
    for _ in range(2):
        assert main([*own, "--log-dir", str(tmp_path)]) == 0
        assert (tmp_path / "metrics.jsonl").read_text() == (expected / "metrics.jsonl").read_text()


def test_a_run_goes_on_in_another_folder_with_its_best_checkpoint(whole, tmp_path):
    own, expected = whole
    assert main([*own, "--log-dir", str(tmp_path / "new"), "--resume", str(expected / "last.pth")]) == 0
    for name in ("last.pth", "best.pth"):
        assert_same(checkpoint.load(expected / name), checkpoint.load(tmp_path / "new" / name))


def test_an_epoch_goes_on_only_with_the_same_order_of_data(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Classification, "_is_interrupted", lambda self: self.step == 3)
    with pytest.raises(SystemExit):
        main([*whole[0], "--log-dir", str(tmp_path)])
    monkeypatch.undo()
    for change in (["--batch-size", "50"], ["--seed", "7"]):
        capsys.readouterr()
        assert main([*whole[0], "--log-dir", str(tmp_path), "--resume", str(tmp_path / "last.pth"), *change]) == 2
        assert "which can change between epochs only" in capsys.readouterr().err
    go_on(whole, tmp_path)


def test_a_run_with_one_step_an_epoch_ends_its_search(tmp_path):
    config = write_config(tmp_path, epochs=3, batch_size=2000)
    assert main(["--config", str(config), "--mode", "train", "--log-dir", str(tmp_path / "log")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "log/metrics.jsonl").read_text().splitlines()]
    assert lines[0]["inverse_temperature"] < lines[-1]["inverse_temperature"] == 20
    assert checkpoint.load(tmp_path / "log/best.pth")["epoch"] == 3


def test_other_epochs_move_the_end_of_the_search_and_too_few_are_refused(tmp_path, monkeypatch, capsys):
    own = ["--config", str(write_config(tmp_path)), "--mode", "train", "--log-dir", str(tmp_path / "log")]
    go_on = [*own, "--resume", str(tmp_path / "log/last.pth"), "--epochs"]
    for place in ((2, 0), (2, 3)):  # epoch and step
        with pytest.raises(SystemExit), monkeypatch.context() as patch:
            patch.setattr(Classification, "_is_interrupted", lambda self, place=place: (self.epoch, self.step) == place)
            main([*own, "--epochs", "8"])
        capsys.readouterr()
        assert main([*go_on, "2"]) == 2
        assert "epochs: received 2, and the run has 2 epochs behind it" in capsys.readouterr().err
    for epochs in (3, 5):  # sooner, and once more after the end
        assert main([*go_on, str(epochs)]) == 0
        last = json.loads((tmp_path / "log/metrics.jsonl").read_text().splitlines()[-1])
        assert (last["epoch"], last["inverse_temperature"]) == (epochs, 20)


@pytest.mark.parametrize("text", ["0", "-3", "often", "10h", "1.5", "0min", "nan min"])
def test_wrong_save_every_is_one_line(text, whole, tmp_path, capsys):
    assert main([*whole[0], "--log-dir", str(tmp_path / "run"), f"--save-every={text}"]) == 2
    assert f"save-every: received '{text}'; allowed: steps such as 500" in capsys.readouterr().err


def test_minutes_and_steps_are_counted():
    steps, minutes, never = SaveEvery("4"), SaveEvery("0.0001min"), SaveEvery(None)
    assert [step for step in range(1, 10) if steps.is_due(step)] == [4, 8]
    assert not any(never.is_due(step) for step in range(1, 10))
    while not minutes.is_due(1):
        pass
    minutes = SaveEvery("10min")
    assert not minutes.is_due(1)


def test_a_run_killed_20_times_ends_with_the_bits_of_a_whole_one(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    own = ["--config", write_config(tmp_path, epochs=4), "--save-every", "1", "--mode", "train"]
    command = [sys.executable, "-m", "tests.samples.killed_run", whole, killed, "20", *own]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "error" not in done.stderr, done.stderr
    statuses = [int(word) for word in done.stdout.splitlines()[-1].split()[1:]]
    assert len(statuses) == 21 and statuses[-1] == 0
    assert set(statuses) <= {
        -signal.SIGKILL,
        -signal.SIGINT,
        -signal.SIGTERM,
        128 + signal.SIGINT,
        128 + signal.SIGTERM,
        0,
    }
    assert statuses.count(0) < 5, "most kills came too late"
    assert_same_runs(whole, killed)
    events = EventAccumulator(str(killed / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
