"""`nncf-slb check`: problems by file, and what a search of a network will be and take."""

import json

import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.cli import main
from nncf_slb.hosts.forecast import forecast
from nncf_slb.search.searchable import searchable_weights
from tests.networks import Small, make_config
from tests.openvino.exported import exported_small

SLB = {"algorithm": "slb", "weights": {"bits": 2}, "ignored_scopes": ["{re}head"]}


class Tied(nn.Module):
    """An embedding that shares its weight with the last layer."""

    def __init__(self):
        super().__init__()
        self.words, self.between, self.out = nn.Embedding(11, 6), nn.Linear(6, 6), nn.Linear(6, 11, bias=False)
        self.out.weight = self.words.weight

    def forward(self, words):
        return self.out(self.between(self.words(words)).relu())


class Impossible(nn.Module):
    """A layer whose weight is computed from other parameters."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.second = nn.Linear(4, 4)

    def forward(self, x):
        return self.second(self.first(x))


class OwnMatrix(nn.Module):
    """A network that multiplies by a matrix of its own, beside layers."""

    def __init__(self):
        super().__init__()
        self.first, self.between, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.matrix = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        return self.last((self.between(self.first(x).relu()) @ self.matrix).relu())


def small_and_batches():
    return Small(), [(torch.randn(6, 1, 8, 8), torch.zeros(6)) for _ in range(3)]


def small_and_a_tensor():
    return Small(), torch.randn(40, 1, 8, 8), float


def small_and_a_generator():
    return Small(), (torch.randn(5, 1, 8, 8) for _ in range(4))


def written(folder, section=SLB, size=(1, 1, 8, 8), **outside):
    path = folder / "config.json"
    path.write_text(json.dumps({"input_info": {"sample_size": list(size)}, "compression": section, **outside}))
    return str(path)


def checked(capsys, *arguments):
    """Exit status and the one document on the standard output."""
    status = main(["check", *arguments, "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["exit_status"] == status and printed["command"] == "check"
    return status, printed


def test_problems_are_listed_by_file(tmp_path, capsys):
    good, bad, broken = (tmp_path / name for name in ("good.json", "bad.json", "broken.json"))
    good.write_text('{"compression": {"algorithm": "slb"}}')
    bad.write_text('{"compression": {"algorithm": "slb", "wieghts": {}, "weights": {"bits": 9}}}')
    broken.write_text("{")
    assert main(["check", str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: good\n"
    assert main(["check", str(good), str(bad)]) == 1
    out = capsys.readouterr().out
    assert f"{good}: good" in out and f"{bad}: 2 problems" in out and "did you mean" in out
    status, printed = checked(capsys, str(good), str(bad), str(broken))
    assert status == 1 and [config["good"] for config in printed["configs"]] == [True, False, False]
    assert [len(config["problems"]) for config in printed["configs"]] == [0, 2, 1]
    assert "is not JSON" in printed["configs"][2]["problems"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.json"], "'missing.json' does not exist"),
        (["."], "'.' cannot be read"),
        (["{config}", "--model", "tests.networks:Smal"], "did you mean Small?"),
        (["{config}", "--model", "tests.networks"], "write MODULE:FUNCTION"),
        (["{config}", "--model", "tests/networks.py:Small"], "such as tests.networks:Small"),
        (["{config}", "--modle", "x"], "unrecognized arguments: --modle"),
        ([], "the following arguments are required"),
    ],
)
def test_wrong_use_is_2_and_a_document_with_the_message(arguments, message, tmp_path, capsys):
    config = written(tmp_path)
    assert main(["check", *(part.replace("{config}", config) for part in arguments), "--json"]) == 2
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert message in printed["error"]["message"] and message in captured.err
    assert printed["exit_status"] == 2 and printed["command"] == "check" and printed["error"]["problems"]


def test_a_config_without_a_search_is_good_but_said_to_search_nothing(tmp_path, caplog):
    path = tmp_path / "other.json"
    path.write_text('{"input_info": {"sample_size": [1, 1, 8, 8]}, "compression": {"algorithm": "quantization"}}')
    assert main(["check", str(path)]) == 0
    assert "other.json has no slb section" in caplog.text


def test_each_layer_is_listed_with_what_becomes_of_it(tmp_path, capsys):
    status, printed = checked(capsys, written(tmp_path), "--model", "tests.networks:Small")
    layers = {layer["name"]: layer for layer in printed["configs"][0]["search"]["layers"]}
    assert status == 0 and list(layers) == ["first", "second", "head"]
    small = Small()
    for name in ("first", "second"):
        count = getattr(small, name).weight.numel()
        assert layers[name] == {
            "name": name, "state": "searched", "bits": 2, "weights": count, "bytes": count // 4, "why": "",
        }  # fmt: skip
    assert layers["head"]["state"] == "left" and "scopes" in layers["head"]["why"]
    assert main(["check", written(tmp_path, {**SLB, "weights": {"bits": 2, "edges": 8}, "ignored_scopes": []}),
                 "--model", "tests.networks:Small"]) == 0  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert ["first", "8", "bits", "8"] in [line.split()[:4] for line in lines]
    assert all(len(line) <= 80 for line in lines[1:])


def test_a_layer_that_is_left_says_why(tmp_path, capsys):
    config = written(tmp_path, {"algorithm": "slb"}, (2, 4))
    info = json.loads((tmp_path / "config.json").read_text())
    info["input_info"]["type"] = "long"
    (tmp_path / "config.json").write_text(json.dumps(info))
    status, printed = checked(capsys, config, "--model", "tests.commands.test_check:Tied")
    layers = {layer["name"]: layer for layer in printed["configs"][0]["search"]["layers"]}
    assert status == 0 and layers["between"]["state"] == "searched"
    assert layers["words"]["state"] == "left" and "looks rows up" in layers["words"]["why"]


def test_a_layer_that_is_impossible_says_why_and_what_to_do(tmp_path, capsys):
    config = written(tmp_path, {"algorithm": "slb"}, (2, 4))
    status, printed = checked(capsys, config, "--model", "tests.commands.test_check:Impossible")
    (problem,) = printed["configs"][0]["problems"]
    assert status == 1 and "computed from other parameters" in problem and "ignored_scopes" in problem


def test_a_matrix_of_the_network_itself_counts_without_the_layers_inside_it(tmp_path, capsys):
    config = written(tmp_path, {"algorithm": "slb", "weights": {"edges": 8}}, (2, 4))
    _, printed = checked(capsys, config, "--model", "tests.commands.test_check:OwnMatrix")
    layers = {layer["name"]: layer for layer in printed["configs"][0]["search"]["layers"]}
    found = {name: (layer["state"], layer["weights"]) for name, layer in layers.items()}
    assert found == {"": ("left", 16), "first": ("8 bits", 16), "between": ("searched", 16), "last": ("8 bits", 8)}


def test_an_input_that_the_network_does_not_take_is_a_problem_of_the_config(tmp_path, capsys):
    status, printed = checked(capsys, written(tmp_path, size=(1, 3, 8, 8)), "--model", "tests.networks:Small")
    assert status == 1 and "input_info" in printed["configs"][0]["problems"][0]


def test_memory_is_that_of_the_search_that_is_built():
    for descent in ("mirror", "gradient"):
        config = make_config([1, 1, 8, 8], {"weights": {"bits": 2}, "params": {"descent": descent}})
        network = Small()
        found = forecast(network, config)
        _, searched = nncf_slb.create_compressed_model(network, config, host="torch")
        weights = searchable_weights(searched)
        if descent == "mirror":
            assert found.kept_bytes == sum(
                weight.descent.mean.nbytes + weight.descent.unit.nbytes for weight in weights
            )
        else:  # logits, their gradients and two means, in place of three numbers for each weight
            logits = sum(weight.descent.logits.nbytes for weight in weights)
            assert found.kept_bytes == 4 * logits - 3 * sum(4 * weight.weight_shape.numel() for weight in weights)
        assert found.float_bytes == 16 * sum(p.numel() for p in Small().parameters())


def test_the_bytes_of_the_ir_are_those_of_the_trained_network(tmp_path):
    network = Small()
    found = forecast(network, make_config([1, 1, 8, 8], {"weights": {"bits": 2}}))
    assert not hasattr(network, "nncf") and network.first.weight.requires_grad  # the network stays as it is
    _, path = exported_small(tmp_path)
    assert found.ir_bytes == path.with_suffix(".bin").stat().st_size


@pytest.mark.parametrize(("stated", "batch"), [(None, 2), (8, 8), (500, 32)])
def test_noise_has_the_batch_of_the_config_within_bounds(stated, batch):
    config = make_config([1, 1, 8, 8], {"weights": {"bits": 2}}, **({} if stated is None else {"batch_size": stated}))
    assert forecast(Small(), config).batch == ((batch, 1, 8, 8),)


def test_batches_of_the_users_choose_the_bits(tmp_path, capsys):
    section = {"algorithm": "slb", "weights": {"bits": "auto", "budget": {"mean_bits": 2}}}
    config = written(tmp_path, section)
    _, printed = checked(capsys, config, "--model", "tests.networks:Small")
    assert printed["configs"][0]["search"]["bits_are_measured_on_noise"] is True
    _, printed = checked(capsys, config, "--model", "tests.commands.test_check:small_and_batches")
    search = printed["configs"][0]["search"]
    assert search["bits_are_measured_on_noise"] is False and search["batch"] == [[6, 1, 8, 8]]
    for function, batch in (("small_and_a_tensor", 16), ("small_and_a_generator", 5)):
        _, printed = checked(capsys, config, "--model", f"tests.commands.test_check:{function}")
        assert printed["configs"][0]["search"]["batch"] == [[batch, 1, 8, 8]]
    assert search["float_milliseconds"] > 0 and search["search_milliseconds"] > 0
