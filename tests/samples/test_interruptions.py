"""What an interruption leaves, and how runs go on from there: to the bits of a run that nothing interrupted."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from samples.classification.recipes import RECIPES
from samples.training import checkpoint

ROOT = Path(__file__).resolve().parents[2]
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
