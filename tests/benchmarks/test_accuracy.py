"""The accuracy study: what it runs, what it chooses by, and what it keeps."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from benchmarks import jobs, pool
from benchmarks.accuracy import ablation, protocol, results
from benchmarks.accuracy.__main__ import TABLES, _complete_with_best
from nncf_slb.config.section import validate_nncf_config
from tests.benchmarks.digits_study import DIGITS


def test_every_variant_of_the_ablation_is_a_valid_config_that_differs_from_the_first():
    own = protocol.Protocol()
    for bits in (1, 2):
        made = ablation.variants(own, bits, (0, 1))
        assert len({job.name for job in made}) == len(made) > 20
        for job in made:
            validate_nncf_config(job.config)
        first, second, *changed = made
        assert (first.labels["method"], second.labels["seed"]) == ("base", 1)
        known = [ablation.effective(job.config) for job in (first, second)]
        assert changed and not any(ablation.effective(job.config) in known for job in changed)


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Names of the jobs that were asked to run, each with a made-up result; SGD at 0.05 is best."""
    names = []

    def fake(asked, study):
        for job in asked:
            names.append(job.name)
            folder = study.folder / job.name
            top1 = 99.0 if "SGD-0.05" in job.name else 50.0
            jobs.write_json({"val_top1": top1, **({"test_top1": top1 - 1} if job.test else {})}, folder / "result.json")
            (folder / "metrics.jsonl").write_text(json.dumps({"val_top1": top1}) + "\n")

    monkeypatch.setattr("benchmarks.accuracy.__main__.run_jobs", fake)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    return names


def lsq(rate, seed, test):
    return DIGITS.rival("lsq_w1", rate, seed, test)


def test_the_best_rate_is_chosen_by_validation_and_run_with_every_seed(tmp_path, ran):
    _complete_with_best("rivals", [lsq], DIGITS, pool.Study(tmp_path / "one"))
    table = results.load("digits_net_digits_rivals")
    tested = table[table["test_top1"].notna()]
    assert list(zip(tested["optimizer"], tested["learning_rate"], tested["seed"], strict=True)) == [
        ("SGD", 0.05, 0), ("SGD", 0.05, 1)
    ]  # fmt: skip
    assert len(table) == len(tested) + len(protocol.RATES) - 1


@pytest.mark.parametrize(
    ("name", "method", "rows"),
    [
        ("rows", "slb", protocol.ROWS), ("random", "slb", protocol.ROWS),
        ("distilled", protocol.DISTILLED, protocol.DISTILLED_ROWS),
    ],
)  # fmt: skip
def test_searches_choose_among_the_same_optimizers_as_their_rivals(tmp_path, ran, name, method, rows):
    TABLES[name](DIGITS, pool.Study(tmp_path / "one"))
    table = results.load(f"digits_net_digits_{name}")
    for row in rows:
        searches = table[(table["method"] == method) & (table[["weights", "activations"]] == row).all(axis=1)]
        tested = searches[searches["test_top1"].notna()]
        assert list(zip(tested["optimizer"], tested["seed"], strict=True)) == [("SGD", 0), ("SGD", 1)]
        assert set(zip(searches["optimizer"], searches["learning_rate"], strict=True)) == set(protocol.RATES)


def test_a_search_with_the_optimizer_of_its_config_is_the_search_as_shipped():
    own = protocol.Protocol()
    shipped = own.run_of((2, 8), 1)
    as_shipped, other = (own.search((2, 8), rate, 1, True) for rate in (("Adam", 0.01), ("Adam", 0.003)))
    assert results.settings_of(as_shipped) == results.settings_of(shipped) and as_shipped.name == shipped.name
    assert other.name != shipped.name and other.config["optimizer"]["base_lr"] == 0.003
    assert {**other.config, "optimizer": None} == {**shipped.config, "optimizer": None}


def test_a_study_goes_on_from_its_csv_file_on_another_machine(tmp_path, ran):
    _complete_with_best("rivals", [lsq], DIGITS, pool.Study(tmp_path / "one"))
    file = tmp_path / "results/digits_net_digits_rivals.csv"
    whole = file.read_text()
    ran.clear()
    _complete_with_best("rivals", [lsq], DIGITS, pool.Study(tmp_path / "two"))
    assert ran == [] and file.read_text() == whole
    lines = whole.splitlines(keepends=True)
    (lost,) = (line for line in lines if ",1,SGD,0.05," in line)
    file.write_text("".join(line for line in lines if line != lost))
    _complete_with_best("rivals", [lsq], DIGITS, pool.Study(tmp_path / "three"))
    assert [name for name in ran if not name.startswith("start/")] == [lsq(("SGD", 0.05), 1, True).name]
    assert sorted(file.read_text().splitlines(keepends=True)) == sorted(lines)


def test_a_row_of_other_settings_is_run_again(tmp_path, ran):
    _complete_with_best("rivals", [lsq], DIGITS, pool.Study(tmp_path / "one"))
    ran.clear()
    longer = replace(DIGITS, epochs=2)
    _complete_with_best("rivals", [lambda *of: longer.rival("lsq_w1", *of)], longer, pool.Study(tmp_path / "two"))
    assert len([name for name in ran if not name.startswith("start/")]) >= len(protocol.RATES) + 1
    assert set(results.load("digits_net_digits_rivals")["epochs"]) == {2}


def test_an_interrupted_table_holds_what_was_completed(tmp_path, ran, monkeypatch):
    _complete_with_best("rivals", [lsq], DIGITS, pool.Study(tmp_path / "one"))
    before = results.load("digits_net_digits_rivals")

    def interrupted(asked, study):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.accuracy.__main__.run_jobs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TABLES["rivals"](DIGITS, pool.Study(tmp_path / "two"))
    pd.testing.assert_frame_equal(results.load("digits_net_digits_rivals"), before)


def test_fewer_epochs_are_run_as_shipped_with_a_low_rate_of_the_logits_and_after_a_search_without_labels():
    own = protocol.Protocol()
    shipped, slow = (own.short_run(2, 1, 2, rate) for rate in (None, 0.0005))
    reconstructed = own.reconstructed_run(2, 1, 2)
    assert protocol.slb_section(reconstructed.config)["initializer"] == {"reconstruction": {}}
    assert "initializer" not in protocol.slb_section(shipped.config) and reconstructed.start == shipped.start
    for job in (shipped, slow, reconstructed):
        validate_nncf_config(job.config)
    assert slow.config.pop("logits_optimizer")["base_lr"] == 0.0005
    assert slow.config == shipped.config and slow.config["epochs"] == 2
    assert slow.name != shipped.name and slow.labels["setting"] != shipped.labels["setting"]


@pytest.mark.parametrize("row", protocol.DISTILLED_ROWS)
def test_distilled_rows_are_the_shipped_searches_with_a_teacher(row):
    own = protocol.Protocol()
    job, plain = own.distilled(row, ("Adam", 0.01), 1, True).config, own.run_of(row, 1).config
    validate_nncf_config(job)
    *others, teacher = job["compression"]
    assert teacher["algorithm"] == "knowledge_distillation"
    protocol.slb_section(plain).setdefault("params", {}).update(protocol.DISTILLED_PARAMS)
    assert job["logits_optimizer"]["base_lr"] == 0.02  # gradient descent of the logits wants a rate of its own
    assert others == (plain["compression"] if isinstance(plain["compression"], list) else [plain["compression"]])


@pytest.mark.parametrize(
    ("network", "dataset"),
    [
        ("small_resnet", "fashion_mnist"), ("resnet20", "cifar10"), ("resnet20", "fashion_mnist"),
        ("vgg_small", "cifar10"), ("resnet18", "imagenet"),
    ],
)  # fmt: skip
def test_every_network_of_the_study_has_all_its_runs(network, dataset):
    """Whoever has the data can run the same commands: every config is there, valid, and knows its float network."""
    own = protocol.Protocol(network, dataset)
    for row in protocol.ROWS:
        for random in (False, True):
            job = own.run_of(row, 1, random)
            validate_nncf_config(job.config)
            assert job.config["seed"] == 1 and (job.start is None) == random
        start = own.float_start(f"w{row[0]}a{row[1]}", 1)
        assert start.config["model_params"] == job.config["model_params"]
    for method in protocol.METHODS:
        validate_nncf_config(own.rival(method, ("SGD", 0.1), 0, True).config)
