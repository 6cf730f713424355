"""What a report reads of folders and files, also of damaged ones."""

import json
import os
import shutil

import pytest

import nncf_slb
from nncf_slb.errors import SettingError
from nncf_slb.reports.data import distinct_titles, read_run
from nncf_slb.reports.page import write_report
from tests.reports.runs import search, write_run


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    search(folder)
    return folder


def test_a_file_alone_shows_what_inspect_knows(searched):
    run = read_run(searched / "model.xml", latency=False)
    inspection = nncf_slb.inspect_openvino(searched / "model.xml")
    assert run.inspection == inspection and run.networks["IR"].bytes == inspection.bin_bytes
    assert run.networks["float"].bytes == inspection.float_bytes
    assert [layer.name for layer in run.layers] == [layer.name for layer in inspection.layers]


def test_a_run_joins_its_layers_with_those_of_its_file(searched):
    run = read_run(searched, latency=False)
    inner = next(layer for layer in run.layers if layer.name == "inner")
    assert inner.plan.bits == 2 and inner.found.stored == "u2" and inner.last.confidence > 0.5
    assert run.verified.passed and run.verified.samples > 1


def test_a_folder_of_several_files_says_which_is_shown(searched, tmp_path):
    for index, name in enumerate(("older", "newer")):
        for suffix in (".xml", ".bin"):
            shutil.copy(searched / f"model{suffix}", tmp_path / f"{name}{suffix}")
        os.utime(tmp_path / f"{name}.xml", (index, index))
    run = read_run(tmp_path, latency=False)
    assert run.inspection.path.endswith("newer.xml")
    (problem,) = run.problems
    assert "newer.xml, is shown" in problem and "older.xml" in problem


def test_latency_is_measured_only_where_the_run_has_none(searched, tmp_path):
    assert read_run(searched / "model.xml").networks["IR"].milliseconds > 0
    assert read_run(searched, latency=False).networks["IR"].milliseconds is None


def test_a_run_without_anything_but_lines_is_shown(tmp_path):
    write_run(tmp_path)
    for name in ("run.json", "results.jsonl"):
        (tmp_path / name).unlink()
    run = read_run(tmp_path)
    assert run.facts is None and len(run.moments) == 5 and run.moments[-1].score == 98


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"length": "many"}', "\x00\xff", '{"layers": [{"name": 3}]}'])
def test_damaged_facts_are_named_and_the_rest_is_shown(content, tmp_path):
    write_run(tmp_path)
    (tmp_path / "run.json").write_text(content)
    run = read_run(tmp_path)
    assert len(run.problems) == 1 and run.problems[0].startswith("run.json cannot be read") and len(run.moments) == 5


def test_damaged_lines_are_counted_and_the_rest_is_shown(tmp_path):
    write_run(tmp_path)
    broken = ["{", "7", '{"epoch": "x"}', '{"epoch": 6, "layers": [1]}', '{"loss": 1}']
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write("\n".join(broken))
    (tmp_path / "results.jsonl").write_text("nonsense\n" + json.dumps({"kind": "verification", "outputs": 3}))
    run = read_run(tmp_path)
    assert run.problems == ["5 lines of metrics.jsonl cannot be read", "2 lines of results.jsonl cannot be read"]
    assert len(run.moments) == 5


def test_a_file_that_is_gone_is_named(searched, tmp_path):
    write_run(tmp_path, networks={})
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"kind": "network", "name": "IR", "file": "model.xml"}\n')
    assert "model.xml is gone" in read_run(tmp_path).problems[0]


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "above"])
def test_what_is_no_run_is_an_error_that_says_what_is(kind, tmp_path):
    path = tmp_path / kind
    if kind in ("empty", "above"):
        path.mkdir()
    if kind == "above":
        write_run(path / "one")
    if kind == "text":
        path.write_text("hello")
    with pytest.raises(SettingError, match=r"run: received .*llowed are folders") as raised:
        read_run(path)
    assert ("its folders one do" in str(raised.value)) == (kind == "above")


def test_wrong_outputs_are_errors(tmp_path):
    write_run(tmp_path / "run")
    for output in (tmp_path / "report.pdf", tmp_path / "run/run.json/report.html"):
        with pytest.raises(SettingError, match="--output: "):
            write_report([tmp_path / "run"], output)


def test_runs_of_one_name_are_told_apart(tmp_path):
    paths = [write_run(tmp_path / name / "run") for name in ("a", "b")]
    runs = [read_run(path) for path in [*paths, paths[0]]]
    distinct_titles(runs)
    assert [run.title for run in runs] == ["a/run", "b/run", "a/run (3)"]
