"""Several processes under torchrun: the network of one process with batches as large, one set of files, one end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from samples.classification.main import main
from samples.classification.trainer import Classification
from samples.training import checkpoint
from samples.training.searched import codes_of
from samples.training.settings import Settings, read_config
from tests.samples.test_interruptions import ENVIRONMENT, RECORDED, ROOT, write_config

FILES = {"last.pth", "best.pth", *RECORDED}


def torchrun(config, folder, *more):
    """Two processes with batches of 100 images each."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        "-m", "samples.classification.main", "--config", config, "--log-dir", folder, "--mode", "train", *more,
    ]  # fmt: skip
    pipe = subprocess.PIPE
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True)


def codes(config, path):
    settings = Settings({**read_config(config)}, path.parent, resume=path)
    return torch.cat([each.flatten() for each in codes_of(Classification(settings).model)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Config, and folders of two processes and of one with batches twice as large."""
    folder = tmp_path_factory.mktemp("runs")
    config = write_config(folder, epochs=2)
    two = torchrun(config, folder / "two", "--save-every", "2")
    printed, errors = two.communicate()
    assert two.returncode == 0, errors
    assert (
        main(["--config", str(config), "--log-dir", str(folder / "one"), "--batch-size", "200", "--mode", "train"]) == 0
    )
    return config, folder, printed


def test_two_processes_find_the_network_of_one_with_batches_twice_as_large(runs):
    config, folder, printed = runs
    assert printed.count("epoch 1/2") == 1 and printed.count("best checkpoint") == 1
    assert {path.name for path in (folder / "two").iterdir()} == FILES
    lines = {name: (folder / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")}
    one, two = (json.loads(lines[name][-1]) for name in ("one", "two"))
    assert len(lines["one"]) == len(lines["two"]) == 2
    assert abs(one["val_top1"] - two["val_top1"]) < 3
    same = (codes(config, folder / "one/last.pth") == codes(config, folder / "two/last.pth")).float().mean()
    print("same codes", float(same), one["val_top1"], two["val_top1"], one["loss"], two["loss"])
    assert same > 0.9  # batch norm has its statistics from each process's own images


def test_a_run_of_two_processes_goes_on_with_one_and_the_other_way_round(runs, tmp_path, monkeypatch):
    config, folder, _ = runs
    own = ["--config", str(config), "--epochs", "3", "--mode", "train", "--batch-size", "200"]
    monkeypatch.setattr(Classification, "_is_interrupted", lambda self: self.step == 3)
    with pytest.raises(SystemExit):
        main([*own, "--log-dir", str(tmp_path), "--resume", str(folder / "two/last.pth")])
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / "last.pth")["position"]["step"] == 3
    two = torchrun(config, tmp_path, "--epochs", "3", "--resume", tmp_path / "last.pth")
    printed, errors = two.communicate()
    assert two.returncode == 0 and "epoch 3/3" in printed, errors
    assert {path.name for path in tmp_path.iterdir()} == FILES


def workers(agent):
    """Process ids of the ranks by rank."""
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    variables = {child: Path(f"/proc/{child}/environ").read_bytes().split(b"\0") for child in children}
    return {
        v.removeprefix(b"RANK=").decode(): int(c) for c, all_ in variables.items() for v in all_ if v[:5] == b"RANK="
    }


def test_a_killed_process_ends_the_run_with_one_line(runs, tmp_path):
    run = torchrun(runs[0], tmp_path, "--epochs", "9999", "--save-every", "3")
    assert "epoch 1/9999" in run.stdout.readline()
    ranks = workers(run.pid)
    os.kill(ranks["1"], signal.SIGKILL)
    errors = run.communicate(timeout=60)[1]
    assert run.returncode != 0 and not any(Path(f"/proc/{process}").exists() for process in ranks.values())
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "another of the 2 processes has ended" in lines[0], errors
    assert "samples/training" not in errors, "a traceback"
    assert {path.name for path in tmp_path.iterdir()} <= FILES
    assert checkpoint.load(tmp_path / "last.pth")["epoch"] >= 1
