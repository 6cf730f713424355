"""What looks wrong is named, with a cause and a remedy; what is as it should be is not."""

import dataclasses

import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.reports.data import read_run
from nncf_slb.reports.findings import findings
from nncf_slb.reports.lines import Verified
from nncf_slb.reports.networks import gain, sentence
from tests.reports.runs import images, line, network, search, write_run


def names(run):
    return [finding.name for finding in findings(run)]


def named(run, name):
    (finding,) = [finding for finding in findings(run) if finding.name == name]
    assert finding.seen and finding.cause.endswith(".") and finding.remedy.endswith(".")
    return finding


def test_nothing_looks_wrong_in_a_run_that_is_as_it_should_be(tmp_path):
    assert names(read_run(write_run(tmp_path))) == []


def layers(**changes):
    whole = line(5, 5)["layers"]
    return {**whole, "conv2": {**whole["conv2"], **changes}}


LAST = {
    "undecided": {"layers": layers(confidence=0.7)},
    "changing": {"changed": 0.2},
    "zero_channels": {"layers": layers(zero_channels=3)},
    "one_value": {"layers": layers(histogram=[0.01, 0.98, 0.01, 0.0])},
    "no_loss": {"loss": float("nan")},
    "rising_loss": {"loss": 0.9},
}


@pytest.mark.parametrize("name", LAST)
def test_what_is_wrong_at_the_end_is_named(name, tmp_path):
    run = read_run(write_run(tmp_path, last=LAST[name]))
    assert names(run) == [name]
    if "layers" in LAST[name]:
        assert "conv2" in named(run, name).seen and "conv1" not in named(run, name).seen


def test_a_layer_is_not_called_undecided_before_the_end(tmp_path):
    run = read_run(write_run(tmp_path, done=2))
    assert names(run) == ["not_ended"] and "epoch 2 of 5" in named(run, "not_ended").seen


SCORES = {
    "below_nearest": ({"float": {"test": 98.5}, "nearest": {"test": 98.25}, "searched": {"test": 98.0}}, "98.00"),
    "drop": ({"float": {"test": 98.5}, "searched": {"test": 95.0}}, "3.50 points"),
    "weak_float": ({"float": {"test": 10.0}, "searched": {"test": 95.0}}, "85.0 points"),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_that_look_wrong_are_named(name, tmp_path):
    scores, part = SCORES[name]
    run = read_run(write_run(tmp_path, networks=scores))
    assert names(run) == [name] and part in named(run, name).seen


def test_the_search_loses_to_rounding_by_more_than_chance(tmp_path):
    few = read_run(write_run(tmp_path / "few", networks={"nearest": {"test": 98.25}, "searched": {"test": 98.0}}))
    many = read_run(write_run(tmp_path / "many", networks={"nearest": {"test": 98.25}, "searched": {"test": 90.0}}))
    assert [named(run, "below_nearest").weight for run in (few, many)] == ["note", "problem"]


def test_scores_of_different_parts_are_not_compared(tmp_path):
    run = read_run(write_run(tmp_path, networks={"float": {"validation": 98.5}, "searched": {"test": 60.0}}))
    assert gain(run).full is None and names(run) == [] and "float" not in sentence(run)


def test_weights_that_could_not_be_searched_are_named(tmp_path):
    assert names(read_run(write_run(tmp_path, left_out_share=0.4))) == ["left_out"]


def test_zero_channels_of_a_file_alone_are_named(tmp_path):
    model = network()
    with torch.no_grad():
        model.wide.weight[[3, 7]] = 0.0
    found = nncf_slb.search_post_training(
        model, images(), steps=2, config={"algorithm": "slb", "weights": {"bits": 2, "values": "ternary"}}
    )
    found.export(tmp_path / "model.xml")
    run = read_run(tmp_path / "model.xml", latency=False)
    assert "wide (2 channels)" in named(run, "zero_channels").seen
    assert {layer.name: layer.zero_channels for layer in nncf_slb.inspect_openvino(tmp_path / "model.xml").layers} == {
        "first": 0, "inner": 0, "wide": 2, "last": 0,
    }  # fmt: skip


class Deconvolution(nn.Module):
    """A transposed convolution of two groups between two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Conv2d(6, 2, 3)
        self.inner = nn.ConvTranspose2d(4, 6, 3, groups=2)

    def forward(self, x):
        return self.last(self.inner(self.first(x)).relu())


def test_zero_channels_of_transposed_convolutions_are_output_channels(tmp_path):
    torch.manual_seed(0)
    model = Deconvolution().eval()
    with torch.no_grad():
        model.inner.weight[2:, 1] = 0.0  # one channel of the second group
        model.inner.weight[0] = 0.0  # an input channel of the first
    config = {"algorithm": "slb", "weights": {"bits": 2, "values": "ternary"}}
    found = nncf_slb.search_post_training(model, images(), steps=1, config=config, log_dir=tmp_path)
    found.export(tmp_path / "model.xml")
    run = read_run(tmp_path, latency=False)
    assert run.moments[-1].layers["inner"].zero_channels == 1
    assert next(layer for layer in run.layers if layer.name == "inner").zero_channels == 1


def test_layers_in_float_are_a_problem_only_beside_layers_in_integers(tmp_path):
    search(tmp_path / "float", activations=32, steps=2)
    run = read_run(tmp_path / "float", latency=False)
    assert "float_kernels" in names(run) and "in_float" not in names(run)
    config = {
        "algorithm": "slb", "weights": {"bits": 2},
        "activations": {"bits": 8, "overrides": [{"target_scopes": "wide", "bits": 32}]},
    }  # fmt: skip
    search(tmp_path / "mixed", activations=None, config=config, steps=2)
    finding = named(read_run(tmp_path / "mixed", latency=False), "in_float")
    assert finding.weight == "problem" and "wide" in finding.seen and "inner" not in finding.seen


def test_a_file_for_another_device_is_wider_and_larger_than_planned(tmp_path):
    found = search(tmp_path, export=False, bits="auto", budget={"bytes": 2400}, steps=2)
    found.export(tmp_path / "model.xml")
    assert not {"wider_than_planned", "too_large"} & set(names(read_run(tmp_path, latency=False)))
    found.export(tmp_path / "model.xml", target_device="GPU")
    run = read_run(tmp_path, latency=False)
    assert "inner" in named(run, "wider_than_planned").seen and "GPU" in named(run, "wider_than_planned").cause
    run.facts = run.facts.model_copy(update={"budget_bytes": run.inspection.bin_bytes - 7})
    assert "7 more than the budget" in named(run, "too_large").seen


def test_a_file_of_another_run_is_named(tmp_path):
    search(tmp_path, steps=2)
    assert "another_file" not in names(read_run(tmp_path, latency=False))
    search(tmp_path, bits=1, steps=2, export=False)
    assert "inner" in named(read_run(tmp_path, latency=False), "another_file").seen


def test_a_file_that_parts_from_pytorch_is_named_unless_by_rounding(tmp_path):
    difference = {"name": "0", "largest": 2.0, "mean": 1.0, "reference": 4.0, "agreement": 0.5}
    said = {"samples": 16, "tolerance": 0.05, "outputs": [difference], "passed": False}
    said["first_layer"] = {"name": "conv2", "largest": 1.5, "reference": 3.0}
    run = read_run(write_run(tmp_path, verified=said))
    assert "first layer that differs is conv2" in named(run, "apart").seen
    run.verified = Verified(**{**said, "first_layer": None, "by_rounding": True, "passed": True})
    assert names(run) == []


def test_unreadable_files_are_problems(tmp_path):
    write_run(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{")
    assert named(read_run(tmp_path), "unreadable").weight == "problem"


def test_the_sentence_says_what_was_lost_and_gained(tmp_path):
    search(tmp_path, steps=2, score=lambda model: 97.5 if isinstance(model, nn.Module) else 97.0)
    run = read_run(tmp_path, latency=False)
    run.networks["float"] = run.networks["float"].model_copy(update={"milliseconds": 3.0})
    run.networks["IR"] = run.networks["IR"].model_copy(update={"milliseconds": 1.5})
    full, ours = run.networks["float"].bytes, run.networks["IR"].bytes
    assert sentence(run) == (
        f"2-bit weights in 2 layers make the weights {full / ours:.1f} times smaller ({full:,} → {ours:,} bytes); the "
        "score is 97.00, 0.50 below the float network's; one inference takes 1.50 ms, 2.00 times as fast as the float "
        "network with 3.00 ms."
    )
    faster = dataclasses.replace(run, networks={"float": run.networks["float"]})
    assert sentence(faster) == "The low-bit network has not been measured yet. The run is at step 2 of 2."
