"""Reports of the samples' runs: whole, interrupted, and of a demo; the numbers are those of the run."""

import json
from functools import partial

import pytest

from nncf_slb.cli import main as nncf_slb
from nncf_slb.reports.data import read_run
from nncf_slb.reports.findings import findings
from samples.classification.demo import run_demo
from samples.classification.main import main
from samples.classification.recipes import RECIPES
from samples.classification.trainer import Classification
from samples.training.settings import Settings
from tests.samples.test_interruptions import write_config


@pytest.fixture(scope="module")
def float_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("float")
    own = ["--recipe", "digits_net_digits_float", "--epochs", "2", "--log-dir", str(folder)]
    assert main([*own, "--mode", "train", "test"]) == 0
    return folder


@pytest.fixture(scope="module")
def run(float_run, tmp_path_factory):
    """A search from the float network, with a test and an export."""
    folder = tmp_path_factory.mktemp("run")
    own = ["--config", str(write_config(folder, epochs=3)), "--weights", str(float_run / "best.pth")]
    assert main([*own, "--log-dir", str(folder / "log"), "--mode", "train", "test", "export"]) == 0
    return folder / "log"


def test_a_run_records_float_nearest_searched_and_the_file(run, float_run):
    read = read_run(run)
    assert list(read.networks) == ["float", "nearest", "searched", "IR"] and read.ended and not read.problems
    float_score = read_run(float_run).networks["float"].scores
    assert read.networks["float"].scores == pytest.approx(float_score)
    config = json.loads((run.parent / "config.json").read_text())
    best = Classification(Settings(config, run, resume=run / "best.pth"))
    assert read.networks["searched"].scores == pytest.approx({"validation": best.best, "test": best.test()})
    assert read.networks["IR"].scores["test"] == pytest.approx(read.networks["searched"].scores["test"], abs=0.6)
    assert read.networks["IR"].bytes == (run / "model.bin").stat().st_size < read.networks["float"].bytes
    assert read.networks["IR"].milliseconds > 0 and read.networks["float"].milliseconds > 0 and read.verified.passed


def test_nearest_values_are_those_before_the_search(run, float_run, tmp_path):
    config = json.loads((run.parent / "config.json").read_text())
    start = Classification(Settings(config, tmp_path, weights=float_run / "best.pth"))
    before = {name: tensor.clone() for name, tensor in start.model.state_dict().items()}
    start.config["epochs"] = 0
    start.fit()
    recorded = read_run(tmp_path).networks["nearest"].scores
    assert recorded == read_run(run).networks["nearest"].scores and recorded["test"] > 80
    after = start.model.state_dict()
    assert all(bool((after[name] == tensor).all()) for name, tensor in before.items())  # measuring changes nothing


def test_layers_have_the_names_of_the_file(run):
    read = read_run(run)
    assert {layer.name: (layer.plan.bits, layer.found.stored) for layer in read.layers if layer.plan} == {
        "conv1": (2, "u2"), "conv2": (2, "u2"),
    }  # fmt: skip
    assert set(read.facts.full_precision_layers) == {"stem", "fc"}
    assert read.facts.commands and "torch" in read.facts.versions and read.facts.machine["processor"]


def test_an_interrupted_run_has_a_report_that_says_so(float_run, tmp_path, monkeypatch, capsys):
    own = ["--config", str(write_config(tmp_path, epochs=3)), "--weights", str(float_run / "best.pth")]
    monkeypatch.setattr(Classification, "_is_interrupted", lambda self: self.epoch == 2)
    with pytest.raises(SystemExit):
        main([*own, "--log-dir", str(tmp_path / "log")])
    monkeypatch.undo()
    assert nncf_slb(["report", str(tmp_path / "log")]) == 0
    read = read_run(tmp_path / "log")
    assert [moment.count for moment in read.moments] == [1, 2] and list(read.networks) == ["float", "nearest"]
    assert "epoch 2 of 3" in next(each.seen for each in findings(read) if each.name == "not_ended")
    assert main([*own, "--log-dir", str(tmp_path / "log"), "--resume", str(tmp_path / "log/last.pth")]) == 0
    read = read_run(tmp_path / "log")
    assert read.ended and list(read.networks) == ["float", "nearest", "searched"] and len(read.facts.commands) == 1


def test_a_float_run_has_a_report(float_run):
    assert nncf_slb(["report", str(float_run)]) == 0
    read = read_run(float_run)
    assert read.ended and list(read.networks) == ["float"] and findings(read) == []


def test_a_demo_ends_with_the_report(tmp_path, monkeypatch, capsys):
    for name in ("digits_net_digits_float", "digits_net_digits_w2a32"):
        monkeypatch.setitem(RECIPES._rules, name, partial(dict, RECIPES[name], epochs=1))
    report = run_demo("digits_net_digits_float", "digits_net_digits_w2a32", tmp_path)
    printed = capsys.readouterr().out
    assert report == tmp_path / "report.html" and (tmp_path / "low_bit.xml").exists()
    assert "Searched, as OpenVINO" in printed and "times smaller" in report.read_text()
