"""The accuracy study: rivals quantize, jobs resume and refuse mixtures, tables say what the CSV files hold."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks import jobs, pool
from benchmarks.accuracy import ablation, protocol, report, results, rivals, worker
from benchmarks.accuracy.__main__ import TABLES, _complete_with_best
from nncf_slb.config import validate_nncf_config
from samples.classification.models import MODELS

DIGITS = protocol.Protocol("digits_net", "digits", epochs=1, seeds=(0, 1))


@pytest.mark.parametrize(
    ("rival", "values"),
    [
        ("bwn_w1", 2), ("dorefa_w1", 2), ("dorefa_w2", 4), ("dorefa_w4", 16), ("lsq_w1", 2), ("lsq_w2", 4),
        ("lsq_w4", 16),
    ],
)  # fmt: skip
def test_a_rival_quantizes_every_convolution_but_the_first_and_trains_it(rival, values):
    torch.manual_seed(0)
    network = MODELS["small_resnet"](num_classes=10)
    original = {name: layer.weight.detach().clone() for name, layer in network.named_modules() if _is_conv(layer)}
    rivals.insert(network, rival)
    network(torch.randn(8, 1, 28, 28)).square().mean().backward()
    quantized = {name: layer for name, layer in network.named_modules() if _is_conv(layer)}
    first, *others = original
    assert torch.equal(quantized[first].weight, original[first])
    for name in others:
        weight = quantized[name].weight.detach()
        counts = [len(channel.unique()) for channel in weight]
        assert max(counts) <= values and min(counts) > 1, name
        assert (weight - original[name]).norm() < original[name].norm(), name  # begins near the trained weights
        assert all(p.grad is not None and p.grad.norm() > 0 for p in quantized[name].parameters()), name


def _is_conv(layer):
    return isinstance(layer, nn.Conv2d)


def test_the_teacher_of_a_distilled_rival_is_the_float_network(tmp_path):
    start = DIGITS.float_start("w1a32")
    start = replace(start, config={**start.config, "epochs": 1})
    pool.run_jobs([start], pool.Study(tmp_path))
    job = DIGITS.rival("lsq_w1", ("Adam", 0.01), 0, False, distilled=True)
    trainer = worker.make_trainer(job, tmp_path, None, "cpu")
    trainer.fit()
    trained = torch.load(tmp_path / start.name / "last.pth", weights_only=True)["model"]
    layers = dict(trainer.model.named_modules())
    teacher = next(layer for name, layer in layers.items() if name.endswith("_kd_original_model"))
    assert {name for name, _ in teacher.named_parameters()} < set(trained)
    assert all(torch.equal(value, trained[name]) for name, value in teacher.named_parameters())
    _, *others = [layer for name, layer in layers.items() if _is_conv(layer) and not name.startswith("_nncf")]
    assert others and all(len(channel.unique()) == 2 for layer in others for channel in layer.weight)


def test_lsq_learns_its_step_by_the_papers_gradient():
    weight = nn.Parameter(torch.tensor([[[[0.2, 0.9, -5.0]]]]))
    quantizer = rivals.LSQ(weight, 2)
    quantizer.step.data.fill_(1.0)
    quantizer(weight).sum().backward()
    # levels -2..1; inside: round(w/s) - w/s; below the range: its lowest level. Gradient scale 1 / sqrt(3 * 1).
    expected = ((0 - 0.2) + (1 - 0.9) + -2) / 3**0.5
    assert quantizer.step.grad.item() == pytest.approx(expected, rel=1e-5)
    assert weight.grad.flatten().tolist() == [1, 1, 0]


def test_every_variant_of_the_ablation_is_a_valid_config_that_differs_from_the_first():
    own = protocol.Protocol()
    for bits in (1, 2):
        made = ablation.variants(own, bits, (0, 1))
        assert len({job.name for job in made}) == len(made) > 20
        for job in made:
            validate_nncf_config(job.config)
        first, second, *changed = [job for job in made if job.labels["method"] != "progressive bits"]
        assert (first.labels["method"], second.labels["seed"]) == ("base", 1)
        known = [ablation.effective(job.config) for job in (first, second)]
        assert changed and not any(ablation.effective(job.config) in known for job in changed)


def test_progressive_bits_take_as_many_epochs_as_one_search():
    chain = ablation.progressive(protocol.Protocol(), 1, 0)
    assert sum(job.config["epochs"] for job in chain) == 8
    assert [job.start for job in chain[1:]] == [job.name for job in chain[:-1]]


def test_jobs_run_once_and_begin_from_one_another(tmp_path):
    study = pool.Study(tmp_path, processes=2)
    start = replace(DIGITS.float_start("w1a32"), config={**DIGITS.float_start("w1a32").config, "epochs": 1})
    chain = ablation.progressive(replace(DIGITS, epochs=4), 2, 0)
    done = pool.run_jobs([start, *chain], study)
    assert set(done) == {start.name, *(job.name for job in chain)}
    assert "test_top1" not in done[chain[-1].name]  # this study chooses by validation, and leaves the test set alone
    handed_on = torch.load(tmp_path / chain[0].name / "float.pth", weights_only=True)["model"]
    assert max(len(channel.unique()) for channel in handed_on["conv2.weight"]) <= 16
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pth")}
    assert pool.run_jobs([start, *chain], study) == done
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pth")} == written
    (row,) = results.rows(chain, tmp_path, results.load("none")).values()
    assert row["setting"] == "4 bits for 2 epochs, 2 bits for 2 epochs"


def test_a_failed_job_is_reported_with_its_log(tmp_path):
    job = jobs.Job("bad", {**DIGITS.config("w1a32", 0), "dataset": "cifar10"})
    waiting = jobs.Job("waits", job.config, start="bad")
    with pytest.raises(pool.FailedJobsError, match=r"1 runs failed, 1 wait.*\n.*bad/log\.txt"):
        pool.run_jobs([job, waiting], pool.Study(tmp_path))
    assert "cifar-10-python" in (tmp_path / "bad/log.txt").read_text()


def test_brevitas_without_its_environment_is_refused_before_anything_runs(tmp_path):
    job = jobs.Job("b", {}, rival="brevitas_w1")
    with pytest.raises(pool.MissingEnvironmentError, match=r"make \.venv-rivals"):
        pool.run_jobs([job], pool.Study(tmp_path, rivals_python=tmp_path / "python"))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_settings_is_refused(tmp_path):
    job = jobs.Job("a", {"epochs": 1})
    jobs.prepare(job, tmp_path)
    jobs.prepare(replace(job, test=False), tmp_path)  # what is done with the network may change
    with pytest.raises(ValueError, match="other settings"):
        jobs.prepare(replace(job, config={"epochs": 2}), tmp_path)


def test_a_result_without_the_test_set_is_not_enough_for_a_job_that_needs_it(tmp_path):
    job = jobs.Job("a", {}, test=False)
    jobs.write_json({"val_top1": 1.0}, tmp_path / "a/result.json")
    assert jobs.result_of(job, tmp_path) == {"val_top1": 1.0}
    assert jobs.result_of(replace(job, test=True), tmp_path) is None


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
    _complete_with_best("rivals", [lsq], [], DIGITS, pool.Study(tmp_path / "one"))
    table = results.load("digits_net_digits_rivals")
    tested = table[table["test_top1"].notna()]
    assert list(zip(tested["optimizer"], tested["learning_rate"], tested["seed"], strict=True)) == [
        ("SGD", 0.05, 0), ("SGD", 0.05, 1)
    ]  # fmt: skip
    assert len(table) == len(tested) + len(protocol.RATES) - 1


def test_a_study_goes_on_from_its_csv_file_on_another_machine(tmp_path, ran):
    _complete_with_best("rivals", [lsq], [], DIGITS, pool.Study(tmp_path / "one"))
    file = tmp_path / "results/digits_net_digits_rivals.csv"
    whole = file.read_text()
    ran.clear()
    _complete_with_best("rivals", [lsq], [], DIGITS, pool.Study(tmp_path / "two"))
    assert ran == [] and file.read_text() == whole
    lines = whole.splitlines(keepends=True)
    (lost,) = (line for line in lines if ",1,SGD,0.05," in line)
    file.write_text("".join(line for line in lines if line != lost))
    _complete_with_best("rivals", [lsq], [], DIGITS, pool.Study(tmp_path / "three"))
    assert [name for name in ran if not name.startswith("start/")] == [lsq(("SGD", 0.05), 1, True).name]
    assert sorted(file.read_text().splitlines(keepends=True)) == sorted(lines)


def test_a_row_of_other_settings_is_run_again(tmp_path, ran):
    _complete_with_best("rivals", [lsq], [], DIGITS, pool.Study(tmp_path / "one"))
    ran.clear()
    longer = replace(DIGITS, epochs=2)
    _complete_with_best("rivals", [lambda *of: longer.rival("lsq_w1", *of)], [], longer, pool.Study(tmp_path / "two"))
    assert len([name for name in ran if not name.startswith("start/")]) >= len(protocol.RATES) + 1
    assert set(results.load("digits_net_digits_rivals")["epochs"]) == {2}


def test_an_interrupted_table_holds_what_was_completed(tmp_path, ran, monkeypatch):
    _complete_with_best("rivals", [lsq], [], DIGITS, pool.Study(tmp_path / "one"))
    before = results.load("digits_net_digits_rivals")

    def interrupted(asked, study):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.accuracy.__main__.run_jobs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TABLES["rivals"](DIGITS, pool.Study(tmp_path / "two"))
    pd.testing.assert_frame_equal(results.load("digits_net_digits_rivals"), before)


def runs(**columns):
    length = max(len(values) for values in columns.values())
    table = {name: columns.get(name, [None] * length) for name in results.COLUMNS}
    return pd.DataFrame(table)


def test_the_table_of_rows_holds_means_deviations_and_gaps():
    table = runs(
        method=["float", "float", "float", "slb", "slb"], setting=["float"] * 5, weights=[32, 32, 32, 1, 1],
        activations=[32, 32, 32, 1, 1], test_top1=[92.0, 93.0, None, 90.0, 91.0],
        searched_test_top1=[None, None, None, 90.5, 91.5],
    )  # fmt: skip
    assert "| 1 / 1 | 90.50 ± 0.71 | 92.50 ± 0.71 | 2.00 | 6.6 | +0.50 |" in report.rows_table(table, "small_resnet")


def test_the_table_of_rivals_compares_at_equal_bits():
    own = runs(method=["slb", "slb"], weights=[1, 2], activations=[32, 32], test_top1=[91.0, 80.0])
    table = runs(
        method=["LSQ", "LSQ"], weights=[1, 1], activations=[32, 32], optimizer=["Adam", "SGD"],
        learning_rate=[0.01, 0.1], test_top1=[90.5, None],
    )  # fmt: skip
    text = report.rivals_table(table, own)
    assert "| 1 / 32 | LSQ | Adam 0.01 | 90.50 | +0.50 |" in text and "SGD" not in text


def test_what_a_teacher_taught_is_compared_with_its_like():
    own = runs(method=["slb", "slb, distilled"], weights=[1, 1], activations=[32, 32], test_top1=[91.0, 92.0])
    table = runs(
        method=["LSQ", "LSQ, distilled"], weights=[1, 1], activations=[32, 32], optimizer=["Adam", "Adam"],
        learning_rate=[0.01, 0.01], test_top1=[90.5, 91.9],
    )  # fmt: skip
    text = report.rivals_table(table, own)
    assert "| LSQ | Adam 0.01 | 90.50 | +0.50 |" in text and "| LSQ, distilled | Adam 0.01 | 91.90 | +0.10 |" in text


@pytest.mark.parametrize("row", protocol.DISTILLED_ROWS)
def test_distilled_rows_are_the_shipped_searches_with_a_teacher(row):
    job, plain = (make(row, 1).config for make in (protocol.Protocol().distilled, protocol.Protocol().run_of))
    validate_nncf_config(job)
    *others, teacher = job["compression"]
    assert teacher["algorithm"] == "knowledge_distillation"
    section = others[0]["params"].pop("inverse_temperature_end") and others[0]
    assert section.pop("params") == {}
    assert others == (plain["compression"] if isinstance(plain["compression"], list) else [plain["compression"]])


def test_the_table_of_mixed_bits_compares_at_equal_bytes():
    table = runs(
        setting=["uniform", "auto"], weights=[2, 2], mean_bits=[2.0, 1.997], bytes=[1000, 998], test_top1=[90.0, 90.4]
    )
    text = report.mixed_table(table)
    assert "| 2 | uniform | 1,000 | 90.00 |  |" in text and "| 1.997 | auto | 998 | 90.40 | +0.40 |" in text


def test_the_table_of_the_ablation_shows_differences_to_its_first_row():
    table = runs(
        method=["base", "scale", "scale"], setting=["", "none", "none"], weights=[1, 1, 2],
        val_top1=[90.0, 89.5, 91.0], val_loss=[0.3, 0.25, 0.2],
    )  # fmt: skip
    text = report.ablation_table(table[:2])
    assert "| **base** | 90.00 |  | 0.3000 |" in text and "| scale: none | 89.50 | -0.50 | 0.2500 |" in text


def test_docs_hold_the_tables_of_the_csv_files(tmp_path, monkeypatch):
    page = report.DOCS / "results.md"
    (tmp_path / "results.md").write_text(page.read_text())
    monkeypatch.setattr(report, "DOCS", tmp_path)
    monkeypatch.setattr(report.plots, "draw", lambda network, folder: None)
    report.write(protocol.Protocol())
    assert (tmp_path / "results.md").read_text() == page.read_text()


def test_another_network_has_a_page_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "results.md").write_text((report.DOCS / "results.md").read_text())
    monkeypatch.setattr(report, "DOCS", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    table = runs(
        method=["slb", "float"], setting=["float"] * 2, weights=[1, 32], activations=[32, 32], test_top1=[90.0, 91.5]
    )
    results.save(table.to_dict("records"), "resnet20_cifar10_rows")
    monkeypatch.setattr(report.plots, "draw", lambda key, folder: None)
    report.write(protocol.Protocol("resnet20", "cifar10"))
    text = (tmp_path / "results_resnet20_cifar10.md").read_text()
    assert "| 1 / 32 | 90.00 | 91.50 | 1.50 | 1.5 |" in text and text.count("Not run.") >= 6


def test_plots_are_drawn_from_results_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report.plots, "RESULTS", tmp_path / "results")
    own = runs(
        method=["float", "slb", "slb"], setting=["float"] * 3, weights=[32, 1, 2], activations=[32, 32, 32],
        test_top1=[92.0, 90.0, 91.0],
    )  # fmt: skip
    results.save(own.to_dict("records"), "net_rows")
    rival = runs(method=["LSQ"], weights=[1], activations=[32], test_top1=[89.0])
    results.save(rival.to_dict("records"), "net_rivals")
    epochs = [{"confidence_histogram": [0.05] * 20, "changed": changed} for changed in (0.1, 0.0)]
    (tmp_path / "results/net_search.json").write_text(json.dumps({"W1": epochs}))
    (tmp_path / "results/net_sensitivity.json").write_text(json.dumps({"conv": {"1": 0.5, "2": 0.1}}))
    report.plots.draw("net", tmp_path)
    assert {p.name for p in tmp_path.glob("*.png")} == {f"net_{n}.png" for n in ("accuracy", "search", "sensitivity")}


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
        start = own.float_start(f"w{row[0]}a{row[1]}")
        assert start.config["model_params"] == job.config["model_params"]
    for method in protocol.METHODS:
        validate_nncf_config(own.rival(method, ("SGD", 0.1), 0, True).config)
