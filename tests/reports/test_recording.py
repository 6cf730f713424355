"""The files of a run: whole lines, one place for each epoch, and the same numbers for TensorBoard."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nncf_slb.reports.data import read_run
from nncf_slb.reports.recording import Recording, read_lines
from tests.reports.runs import facts, line, search, write_run


def metrics(folder):
    return [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_that_goes_on_keeps_each_epoch_once(tmp_path):
    write_run(tmp_path, epochs=6, done=4)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3}\n{"epoch": 5, "lo')
    started = json.loads((tmp_path / "run.json").read_text())["started"]
    recording = Recording(tmp_path)
    recording.begin(facts(6, commands=["python again"]), "epoch", done=3, fresh=False)
    for epoch in (4, 5, 6):
        recording.add("epoch", line(epoch, 6))
    recording.end()
    assert [entry["epoch"] for entry in metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]
    said = json.loads((tmp_path / "run.json").read_text())
    assert said["started"] == started and len(said["commands"]) == 2 and said["commands"][1] == "python again"
    assert read_run(tmp_path).networks["float"].scores == {"test": 98.5}


def test_a_new_run_takes_the_place_of_a_former_one(tmp_path):
    write_run(tmp_path)
    Recording(tmp_path).begin(facts(9), "epoch")
    run = read_run(tmp_path)
    assert not run.moments and not run.networks and run.facts.length == 9 and not run.ended


def test_a_result_behind_a_cut_line_is_read(tmp_path):
    write_run(tmp_path, networks={})
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"kind": "network", "name": "IR", "byt')
    Recording(tmp_path).network("searched", scores={"test": 97.0})
    assert read_lines(tmp_path / "results.jsonl")[1] == 1
    assert read_run(tmp_path).networks["searched"].scores == {"test": 97.0}


def test_numbers_that_json_has_no_words_for_are_null(tmp_path):
    write_run(tmp_path, last={"loss": float("nan"), "layers": {"conv1": {"confidence": float("inf")}}})
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert metrics(tmp_path)[-1]["loss"] is None and metrics(tmp_path)[-1]["layers"] == {"conv1": {"confidence": None}}


def test_tensorboard_has_the_same_numbers(tmp_path):
    write_run(tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    lines = metrics(tmp_path)
    for name, number in {
        "loss": lambda entry: entry["loss"],
        "inverse_temperature": lambda entry: entry["inverse_temperature"],
        "layers/conv2/confidence": lambda entry: entry["layers"]["conv2"]["confidence"],
        "layers/conv1/histogram/3": lambda entry: entry["layers"]["conv1"]["histogram"][3],
    }.items():
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(entry["epoch"], pytest.approx(number(entry))) for entry in lines], name
    assert events.Scalars("nearest/scores/test")[0].value == pytest.approx(91.25)


def test_a_search_without_labels_writes_as_it_goes(tmp_path):
    seen = []

    def progress(state):
        if state.step == 31:
            seen.append(metrics(tmp_path))

    found = search(tmp_path, export=False, score=lambda model: 42.5)
    whole = metrics(tmp_path)
    search(tmp_path, export=False, score=lambda model: 42.5, progress=progress)
    assert seen[0] == [entry for entry in whole if entry["step"] <= 31]  # the beginning of the whole
    assert [entry["step"] for entry in whole] == list(range(1, 61))
    assert whole[-1]["confidence"] > whole[0]["confidence"] and whole[-1]["inverse_temperature"] == 50
    run = read_run(tmp_path)
    assert run.ended and {name: network.scores for name, network in run.networks.items()} == {
        "float": {"own": 42.5}, "nearest": {"own": 42.5}, "searched": {"own": 42.5},
    }  # fmt: skip
    assert {plan.name: plan.bits for plan in run.facts.layers} == {
        path: bits for path, bits in found.bits.items() if bits == 2
    }


def test_a_search_without_labels_goes_on_in_its_files(tmp_path):
    def stop(state):
        if state.step == 20:
            raise RuntimeError

    folder, own = tmp_path / "log", {"checkpoint": tmp_path / "search.pt", "export": False}
    with pytest.raises(RuntimeError), pytest.MonkeyPatch.context() as patch:
        patch.setattr("nncf_slb.hosts.torch.checkpoint._SECONDS", 0.0)
        search(folder, progress=stop, **own)
    assert not read_run(folder).ended
    search(folder, **own)
    whole = search(tmp_path / "whole", export=False)
    assert metrics(folder)[-1] == metrics(tmp_path / "whole")[-1] and whole.bits
    assert [entry["step"] for entry in metrics(folder)] == list(range(1, 61))


def test_of_several_searches_the_chosen_one_is_shown(tmp_path):
    found = search(tmp_path, export=False, max_drop=90.0, steps=10)
    run = read_run(tmp_path)
    names = {entry["search"] for entry in metrics(tmp_path)}
    assert len(names) > 1 and {moment.search for moment in run.moments} == {"1 mean bits"}
    assert {plan.bits for plan in run.facts.layers} == {1}
    assert [found.bits[plan.name] for plan in run.facts.layers] == [1, 1]
    assert run.facts.sensitivities
