"""Damaged checkpoints of a real run: one line that names what is wrong, exit status 2, and nothing else happens."""

import copy
import json
from collections import OrderedDict

import numpy as np
import pytest
import torch

from samples.classification.main import main
from samples.training import checkpoint
from tests.samples.test_interruptions import write_config

NAN, INFINITY = float("nan"), float("inf")
LAYER, STATE = "conv1.weight", "conv1.pre_ops.0.op.descent."


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a run that ended in the middle of its second epoch, its command, and its checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    own = ["--config", str(write_config(folder)), "--mode", "train"]
    assert main([*own, "--epochs", "1", "--log-dir", str(folder / "log")]) == 0
    return folder, own, checkpoint.load(folder / "log/last.pth")


def adam(state, index=0):
    return state["optimizers"][0]["state"][index]


def group(state):
    return state["optimizers"][0]["param_groups"][0]


def tensor(name, value):
    return lambda state: state["model"].update({name: value(state["model"][name])})


def scheduler(**changes):
    return lambda state: state["compression_state"]["ctrl_state"]["slb"]["scheduler_state"].update(changes)


def position(**changes):
    """In the middle of an epoch."""

    def damage(state):
        codes = [torch.zeros(64, 32, 3, 3, dtype=torch.uint8), torch.zeros(96, 64, 3, 3, dtype=torch.uint8)]
        state["position"] = {"step": 3, "loss_sum": 1.0, "processes": 1, "codes": codes, **changes}
        scheduler(current_epoch=1, step_in_epoch=2)(state)

    return damage


def config(**changes):
    return lambda state: state.update(config=json.dumps({**json.loads(state["config"]), **changes}))


def renamed(state):
    state["model"] = OrderedDict((name.replace("conv1", "first"), value) for name, value in state["model"].items())


# Damage, and what the line must name.
DAMAGES = {
    "no model": (lambda s: s.pop("model"), "lacks model"),
    "no optimizers": (lambda s: s.pop("optimizers"), "lacks optimizers"),
    "no epoch": (lambda s: s.pop("epoch"), "lacks epoch"),
    "no best": (lambda s: s.pop("best"), "lacks best"),
    "no rng": (lambda s: s.pop("rng"), "lacks rng"),
    "no config": (lambda s: s.pop("config"), "lacks config"),
    "no compression_state": (lambda s: s.pop("compression_state"), "lacks compression_state"),
    "surplus key": (lambda s: s.update(more=1), "more does not belong"),
    "later version": (lambda s: s.update(version=99), "version: received 99"),
    "version is text": (lambda s: s.update(version="2"), "version: received '2'"),
    "epoch is text": (lambda s: s.update(epoch="1"), "epoch: received '1'"),
    "epoch is a fraction": (lambda s: s.update(epoch=1.5), "epoch: received 1.5"),
    "epoch is true": (lambda s: s.update(epoch=True), "epoch: received True"),
    "epoch is a tensor": (lambda s: s.update(epoch=torch.tensor(1)), "epoch: received Tensor"),
    "epoch is None": (lambda s: s.update(epoch=None), "epoch: received None"),
    "epoch is negative": (lambda s: s.update(epoch=-1), "epoch: received -1"),
    "epoch is another": (lambda s: s.update(epoch=40), "epoch: received 40, and a search in epoch 0"),
    "best is text": (lambda s: s.update(best="high"), "best: received 'high'"),
    "best is NaN": (lambda s: s.update(best=NAN), "best: received nan"),
    "best is infinite": (lambda s: s.update(best=INFINITY), "best: received inf"),
    "best is a list": (lambda s: s.update(best=[1]), "best: received list"),
    "rng is too short": (lambda s: s.update(rng=s["rng"][:100]), "rng: received uint8 [100]"),
    "rng is of floats": (lambda s: s.update(rng=s["rng"].float()), "rng: received float32"),
    "rng is a list": (lambda s: s.update(rng=[1]), "rng: received list"),
    "rng is of zeros": (lambda s: s.update(rng=torch.zeros_like(s["rng"])), "rng: no state"),
    "config is a dictionary": (lambda s: s.update(config={}), "config: received dict"),
    "config is no JSON": (lambda s: s.update(config="{"), "config: received text that is not JSON"),
    "config is a list": (lambda s: s.update(config="[]"), "config: received JSON of list"),
    "another network": (config(model="small_resnet"), "model: the run had 'small_resnet'"),
    "another learning rate": (config(optimizer={"type": "SGD", "base_lr": 1}), "optimizer: the run had"),
    "model is a list": (lambda s: s.update(model=[1]), "model: received list"),
    "model is empty": (lambda s: s["model"].clear(), "model lacks batchnorm_stale"),
    "model lacks a tensor": (lambda s: s["model"].pop("fc.bias"), "model lacks fc.bias"),
    "model lacks a step": (lambda s: s["model"].pop(STATE + "_extra_state"), f"model lacks {STATE}_extra_state"),
    "surplus tensor": (lambda s: s["model"].update(more=torch.zeros(1)), "model.more belongs to another network"),
    "tensors of another network": (renamed, "model lacks conv1.weight"),
    "tensor of another shape": (tensor(LAYER, lambda t: t[:3]), f"model.{LAYER}: received float32 [3, 32, 3, 3]"),
    "tensor of another type": (tensor(LAYER, lambda t: t.to(torch.int32)), f"model.{LAYER}: received int32"),
    "tensor of half precision": (tensor(LAYER, lambda t: t.half()), f"model.{LAYER}: received float16"),
    "tensor is a number": (tensor("fc.bias", lambda t: 3), "model.fc.bias: received 3"),
    "weights are NaN": (tensor(LAYER, lambda t: t * NAN), f"model.{LAYER}: 18432 numbers are not finite"),
    "mean is infinite": (tensor(STATE + "mean", lambda t: t / 0), f"model.{STATE}mean: 18432 numbers"),
    "variance is negative": (tensor("bn1.running_var", lambda t: -t), "model.bn1.running_var: received negative"),
    "steps are negative": (tensor(STATE + "_extra_state", lambda t: -t), f"model.{STATE}_extra_state: received neg"),
    "optimizers is a dictionary": (lambda s: s.update(optimizers={}), "optimizers: received dict"),
    "no optimizer": (lambda s: s["optimizers"].clear(), "optimizers: received 0; allowed: 1"),
    "two optimizers": (lambda s: s["optimizers"].append(s["optimizers"][0]), "optimizers: received 2"),
    "optimizer is a list": (lambda s: s.update(optimizers=[[1]]), "optimizers[0]: received list"),
    "optimizer lacks its state": (lambda s: s["optimizers"][0].pop("state"), "optimizers[0].state is missing"),
    "state is a list": (lambda s: s["optimizers"][0].update(state=[]), "optimizers[0].state: received list"),
    "state is empty": (lambda s: s["optimizers"][0]["state"].clear(), "optimizers[0].state lacks the parameters 0"),
    "state lacks a parameter": (lambda s: s["optimizers"][0]["state"].pop(3), "state lacks the parameters 3"),
    "state of SGD": (
        lambda s: s["optimizers"][0]["state"].update({0: {"momentum_buffer": torch.zeros(32, 1, 3, 3)}}),
        "optimizers[0].state[0].exp_avg is missing",
    ),
    "state of one parameter more": (
        lambda s: s["optimizers"][0]["state"].update({99: adam(s)}), "optimizers[0].state[99] is of another network",
    ),
    "mean of another shape": (lambda s: adam(s).update(exp_avg=torch.zeros(2)), "exp_avg: received float32 [2]"),
    "mean of another type": (lambda s: adam(s).update(exp_avg=[0.0]), "exp_avg: received list"),
    "mean is not finite": (lambda s: adam(s)["exp_avg"].fill_(NAN), "exp_avg: received numbers that are not finite"),
    "square is negative": (lambda s: adam(s)["exp_avg_sq"].fill_(-1), "exp_avg_sq: received negative numbers"),
    "step is text": (lambda s: adam(s).update(step="3"), "state[0].step: received str"),
    "step is infinite": (lambda s: adam(s)["step"].fill_(INFINITY), "step: received numbers that are not finite"),
    "no groups": (lambda s: s["optimizers"][0].update(param_groups=[]), "param_groups: received list"),
    "group lacks its rate": (lambda s: group(s).pop("lr"), "param_groups[0].lr is missing"),
    "rate is NaN": (lambda s: group(s).update(lr=NAN), "param_groups[0].lr: received nan"),
    "other betas": (lambda s: group(s).update(betas=(0.5, 0.5)), "param_groups[0].betas: received (0.5, 0.5)"),
    "surplus in a group": (lambda s: group(s).update(momentum=0.9), "momentum is none of this optimizer's"),
    "parameters in another order": (lambda s: group(s)["params"].reverse(), "param_groups[0].params: received [12"),
    "compression_state is None": (lambda s: s.update(compression_state=None), "compression_state: received NoneType"),
    "compression_state is a list": (lambda s: s.update(compression_state=[1]), "compression_state: received list"),
    "compression_state is empty": (lambda s: s["compression_state"].clear(), "compression_state.builder_state"),
    "no scheduler": (
        lambda s: s["compression_state"]["ctrl_state"]["slb"].pop("scheduler_state"), "slb.scheduler_state: received",
    ),
    "scheduler's epoch is text": (scheduler(current_epoch="0"), "a search in epoch 0"),
    "scheduler's step is NaN": (scheduler(current_step=NAN), "current_step: received nan"),
    "step in epoch is 0": (position(step=0), "position.step: received 0"),
    "step in epoch is too large": (position(step=900), "position.step: received 900; allowed: at most 13"),
    "sum of losses is NaN": (position(loss_sum=NAN), "position.loss_sum: received nan"),
    "no processes": (position(processes=0), "position.processes: received 0"),
    "codes are numbers": (position(codes=[1, 2]), "position.codes[0]: received 1"),
    "codes of another network": (position(codes=[]), "position.codes are those of another network"),
    "surplus in position": (position(more=1), "position.more does not belong"),
    "position is a list": (lambda s: s.update(position=[3]), "position: received list"),
}  # fmt: skip


def last_line(own, path, option, folder, capsys):
    """The line of the error of a command that must end with one."""
    before = path.read_bytes()
    capsys.readouterr()
    assert main([*own, option, str(path), "--log-dir", str(folder / "new")]) == 2
    printed = capsys.readouterr().err.strip()
    assert "Traceback" not in printed and path.read_bytes() == before
    assert not (folder / "new").exists()
    return printed


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_is_one_line_that_names_what_is_wrong(run, name, tmp_path, capsys):
    _, own, state = run
    damage, named = DAMAGES[name]
    damaged = copy.deepcopy(state)
    damage(damaged)
    checkpoint.save(damaged, tmp_path / "damaged.pth")
    printed = last_line(own, tmp_path / "damaged.pth", "--resume", tmp_path, capsys)
    lines = [line for line in printed.splitlines() if not line.startswith("WARNING")]
    assert len(lines) == (2 if "the run had" in named else 1), printed
    assert lines[0].startswith("error: ") and named in printed


BYTES = {
    "empty": lambda whole: b"",
    "cut short": lambda whole: whole[: len(whole) // 2],
    "without its end": lambda whole: whole[:-1],
    "a byte changed": lambda whole: whole[:70000] + bytes([whole[70000] ^ 255]) + whole[70001:],
    "zeros": lambda whole: bytes(len(whole)),
    "text": lambda whole: b"hello",
}


@pytest.mark.parametrize("name", BYTES)
@pytest.mark.parametrize("option", ["--resume", "--weights"])
def test_bytes_that_are_no_checkpoint_are_one_line(run, name, option, tmp_path, capsys):
    folder, own, _ = run
    path = tmp_path / "damaged.pth"
    path.write_bytes(BYTES[name]((folder / "log/last.pth").read_bytes()))
    printed = last_line(own, path, option, tmp_path, capsys)
    assert len(printed.splitlines()) == 1 and str(path) in printed


@pytest.fixture(scope="module")
def of_float(tmp_path_factory):
    """Command of a float run, and its checkpoint."""
    folder = tmp_path_factory.mktemp("float")
    own = ["--recipe", "digits_net_digits_float", "--epochs", "1", "--mode", "train"]
    assert main([*own, "--log-dir", str(folder)]) == 0
    return own, checkpoint.load(folder / "best.pth")


WEIGHTS = {
    "not there": (lambda s: s.pop("model"), "lacks model"),
    "a list": (lambda s: s.update(model=[]), "model: received list"),
    "a tensor": (lambda s: s.update(model=torch.zeros(3)), "model: received Tensor"),
    "names are numbers": (lambda s: s.update(model={1: torch.zeros(1)}), "model lacks stem.weight"),
    "of another network": (renamed, "model lacks conv1.weight"),
    "of another width": (tensor("fc.weight", lambda t: t[:, :5]), "model.fc.weight: received float32 [10, 5]"),
    "not finite": (tensor("fc.bias", lambda t: t * NAN), "model.fc.bias: 10 numbers are not finite"),
    "a layer is text": (tensor("fc.bias", lambda t: "x"), "model.fc.bias: received str"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_damaged_weights_are_one_line(run, of_float, name, tmp_path, capsys):
    damage, named = WEIGHTS[name]
    damaged = copy.deepcopy(of_float[1])
    damage(damaged)
    checkpoint.save(damaged, tmp_path / "damaged.pth")
    printed = last_line(run[1], tmp_path / "damaged.pth", "--weights", tmp_path, capsys)
    assert len(printed.splitlines()) == 1 and named in printed


def test_weights_of_a_search_are_one_line(run, of_float, tmp_path, capsys):
    path = run[0] / "log/last.pth"
    for own in (run[1], of_float[0]):
        printed = last_line(own, path, "--weights", tmp_path, capsys)
        assert len(printed.splitlines()) == 1 and "--weights takes a float run of the same network" in printed


def test_a_float_run_is_no_run_of_a_search(run, of_float, tmp_path, capsys):
    checkpoint.save(of_float[1], tmp_path / "float.pth")
    assert "compression: the run had None" in last_line(run[1], tmp_path / "float.pth", "--resume", tmp_path, capsys)


@pytest.mark.parametrize(
    "content", [np.zeros(3), torch.nn.Linear(1, 1), [1, 2], 5, None], ids=lambda c: type(c).__name__
)
@pytest.mark.parametrize("option", ["--resume", "--weights"])
def test_files_of_something_else_are_one_line(run, content, option, tmp_path, capsys):
    torch.save(content, tmp_path / "other.pth")
    printed = last_line(run[1], tmp_path / "other.pth", option, tmp_path, capsys)
    assert len(printed.splitlines()) == 1 and "other.pth" in printed
