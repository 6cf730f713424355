"""`nncf-slb init`: a config by flags or by questions, written once and as a whole."""

import json

import pytest
import torch
from torch import nn

from nncf_slb.cli import main
from nncf_slb.hosts.compression import parse_compression
from tests.commands.running import in_terminal, run
from tests.networks import Small

SIZE = ["--sample-size", "1,1,8,8"]


class OneImpossible(nn.Module):
    """Three Linear layers, the one in the middle with a weight that is computed from other parameters."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.between = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.searched = nn.Linear(4, 4)

    def forward(self, x):
        return self.last(self.searched(self.between(self.first(x))).relu())


def small_and_batches():
    return Small(), [(torch.randn(6, 1, 8, 8), torch.zeros(6)) for _ in range(2)]


def init(folder, *arguments):
    """Exit status, and the config that was written."""
    path = folder / "config.json"
    status = main(["init", "-o", str(path), *arguments])
    return status, json.loads(path.read_text()) if path.exists() else None


def test_flags_write_a_config_that_check_finds_good(tmp_path, capsys):
    status, config = init(tmp_path, *SIZE, "--bits", "3", "--activations", "32", "--edges", "float", "--epochs", "7")
    assert status == 0 and config == {
        "input_info": {"sample_size": [1, 1, 8, 8]}, "epochs": 7,
        "compression": {"algorithm": "slb", "weights": {"bits": 3, "edges": "float"}},
    }  # fmt: skip
    assert "config.json written" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "config.json"), "--model", "tests.networks:Small"]) == 0
    assert parse_compression(config, "torch", ("slb",)).epochs == 7


def test_a_mean_of_bits_is_a_budget(tmp_path):
    _, config = init(tmp_path, *SIZE, "--mean-bits", "2.5")
    assert config["compression"]["weights"] == {"bits": "auto", "edges": 8, "budget": {"mean_bits": 2.5}}


def test_batches_of_the_function_give_the_sample_size(tmp_path, capsys):
    status, config = init(tmp_path, "--model", "tests.commands.test_init:small_and_batches")
    assert status == 0 and config["input_info"] == {"sample_size": [1, 1, 8, 8]}
    assert "second  searched" in capsys.readouterr().out


def test_layers_that_cannot_be_searched_are_left_out(tmp_path, capsys):
    status, config = init(tmp_path, "--model", "tests.commands.test_init:OneImpossible", "--sample-size", "2,4")
    shown = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert status == 0 and ["searched", "searched"] in shown
    assert "between" in json.dumps(config["compression"]["ignored_scopes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--sample-size: received none; allowed: such as 1,3,224,224"),
        (["--sample-size", "1,0"], "--sample-size: received 1,0"),
        ([*SIZE, "--bits", "5"], "--bits: received 5; allowed: 1, 2, 3, 4 or auto"),
        ([*SIZE, "--epochs", "0"], "--epochs: received 0"),
        ([*SIZE, "--mean-bits", "nan"], "--mean-bits: received nan; allowed: 1 to 4"),
        ([*SIZE, "--bits", "2", "--mean-bits", "2"], "--mean-bits: received with --bits 2"),
        ([*SIZE, "--model", "tests.networks:Missing"], "tests.networks has no function Missing"),
        (["--sample-size", "1,3,8,8", "--model", "tests.networks:Small"], "input_info"),
    ],
)
def test_what_cannot_be_used_is_2_and_writes_nothing(arguments, message, tmp_path, capsys):
    status, config = init(tmp_path, *arguments)
    assert status == 2 and config is None and message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_file_is_replaced_only_by_force(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text("mine")
    assert main(["init", "-o", str(path), *SIZE]) == 2
    assert path.read_text() == "mine" and "add --force" in capsys.readouterr().err
    status, config = init(tmp_path, *SIZE, "--force")
    assert status == 0 and config["epochs"] == 30 and [each.name for each in tmp_path.iterdir()] == ["config.json"]


def test_questions_are_asked_in_a_terminal_and_asked_again_after_a_wrong_answer(tmp_path):
    answers = "5\n3\n\nfloat\n12\n1,1,8,8\n"
    status, shown = in_terminal("init", cwd=tmp_path, answers=answers)
    config = json.loads((tmp_path / "config.json").read_text())
    assert status == 0 and config == {
        "input_info": {"sample_size": [1, 1, 8, 8]}, "epochs": 12,
        "compression": {"algorithm": "slb", "weights": {"bits": 3, "edges": "float"}, "activations": {"bits": 8}},
    }  # fmt: skip
    assert shown.count("Bits of a weight (1, 2, 3, 4 or auto) [2]: ") == 2 and "  allowed: 1, 2, 3, 4" in shown


def test_the_mean_of_bits_is_asked_where_bits_are_auto(tmp_path):
    status, _ = in_terminal("init", *SIZE, cwd=tmp_path, answers="auto\n2.5\n\n\n\n")
    weights = json.loads((tmp_path / "config.json").read_text())["compression"]["weights"]
    assert status == 0 and weights == {"bits": "auto", "budget": {"mean_bits": 2.5}, "edges": 8}


def test_what_a_flag_states_is_not_asked(tmp_path):
    status, shown = in_terminal("init", "--bits", "1", "--edges", "8", *SIZE, cwd=tmp_path, answers="\n\n")
    assert status == 0 and "Bits of a weight" not in shown and "Epochs" in shown
    status, shown = in_terminal("init", *SIZE, "--no-input", "--force", cwd=tmp_path)
    assert status == 0 and "Epochs" not in shown


def test_an_input_that_ends_writes_nothing(tmp_path):
    status, shown = in_terminal("init", cwd=tmp_path, answers="2\n\x04")
    assert status == 2 and "the input ended" in shown and not list(tmp_path.iterdir())


def test_without_a_terminal_nothing_is_asked(tmp_path):
    done = run("init", *SIZE, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "config.json").exists() and not done.stderr
