"""The study of super-resolution: every run is valid, starts where it says, and the tables say what was measured."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.documents import page_of, write_between_markers
from benchmarks.jobs import prepare, result_of
from benchmarks.super_resolution import __main__ as study_command
from benchmarks.super_resolution import study, worker
from benchmarks.super_resolution.__main__ import DOCS, measure, scale_table
from samples.super_resolution.report import Row
from samples.super_resolution.trainer import TASK
from samples.training.settings import Settings, check

RUNS = study.Runs()


def every_job():
    start = RUNS.float_start()
    searches = [RUNS.search(bits, activations) for bits in study.BITS for activations in study.ACTIVATIONS]
    scales = [RUNS.search(bits, 32, {"scale": "none"}) for bits in study.BITS]
    rivals = [RUNS.rival(name, rate, False) for name in study.RIVALS for rate in study.RATES]
    return [start, *searches, *scales, *rivals, *(RUNS.float_more(rate, True) for rate in study.RATES)]


@pytest.mark.parametrize("job", every_job(), ids=lambda job: job.name)
def test_every_run_is_a_valid_config_that_begins_from_the_float_network(job, tmp_path):
    check(Settings(job.config, tmp_path), TASK)
    assert (job.start is None) == (job.name == RUNS.float_start().name)
    assert job.config["epochs"] == RUNS.float_start().config["epochs"]


def test_runs_have_folders_of_their_own():
    names = [job.name for job in every_job()]
    assert len(set(names)) == len(names)
    assert {job.name for job in every_job()}.isdisjoint(study.Runs(scale=3).search(b, 8).name for b in study.BITS)


def small(job):
    return replace(job, config={**job.config, "epochs": 1, "patches": 32})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A float network, trained on, its searches with 8-bit activations, and a rival, all of two steps."""
    folder = tmp_path_factory.mktemp("study")
    jobs = [small(RUNS.float_start()), small(RUNS.float_more(0.001, True))]
    jobs += [*(small(RUNS.search(bits, 8)) for bits in study.BITS), small(RUNS.rival("lsq_w1", 0.001, True))]
    for job in jobs:
        prepare(job, folder)
        worker.run(job, folder)
    return folder, jobs, {job.name: result_of(job, folder) for job in jobs}


@pytest.mark.parametrize("rival", study.RIVALS)
def test_every_rival_trains(rival, done):
    folder = done[0]
    job = small(RUNS.rival(rival, 0.001, False))
    prepare(job, folder)
    worker.run(job, folder)
    assert math.isfinite(result_of(job, folder)["val_psnr"])


def test_a_rival_quantizes_the_searched_layers_alone(done):
    folder, jobs, _ = done
    trainer = worker.make_trainer(jobs[-1], folder)
    assert len(trainer.model.body.weight[0].abs().unique()) == 1
    assert len(trainer.model.tail.weight[0].abs().unique()) > 100


def test_the_table_holds_every_way_and_what_it_lost(done, tmp_path, monkeypatch):
    folder, jobs, results = done
    monkeypatch.setattr(study_command, "DOCS", tmp_path)
    monkeypatch.setattr(study_command, "TIMED_SIZE", 16)
    report = measure(RUNS, jobs, results, study_command.Study(folder))
    names = [row.network for row in report.rows]
    assert names[:4] == ["bicubic", "float, PyTorch", "float, trained on, PyTorch", "slb W1A8, PyTorch"]
    assert "LSQ W1A32 (Adam 0.001), PyTorch" in names
    lines = report.markdown().splitlines()
    assert lines[0].startswith("| network | PSNR / SSIM, mean | astronaut |") and len(lines) == 2 + len(names)
    float_row, ours = (next(row for row in report.rows if row.network == n) for n in ("float, PyTorch", "slb W4A8, IR"))
    assert f"W4A8: {ours.mean[0] - float_row.mean[0]:+.3f} dB against the float" in report.notes[0]
    assert ours.bytes and float_row.bytes is None
    assert (tmp_path / "images/super_resolution_espcn_x2.png").stat().st_size > 10_000


def test_a_loss_is_told_against_both_float_networks_and_speed_against_float_and_8_bits():
    quality = {"a": (30.0, 0.9)}
    rows = [Row("float, PyTorch", {"a": (30.1, 0.9)}), Row("float, trained on, PyTorch", {"a": (30.4, 0.9)})]
    speeds = {"float": 1.0, "8 bits (NNCF)": 2.0, "slb W4A8": 3.0, "slb W2A8": 3.0, "slb W1A8": 3.0}
    rows += [Row(f"{name}, IR", quality, 10, 1.0, 5.0, ratio) for name, ratio in speeds.items()]
    assert study_command._goals(rows)[0] == (
        "- W4A8: -0.100 dB against the float network that it starts from, and -0.400 against that network trained on "
        "(wanted: -0.05). 3.00 times float's images/s (wanted: 3), and 1.50 times those of 8 bits (wanted: 0.98)."
    )


def test_other_photographs_have_a_page_of_their_own(tmp_path):
    (tmp_path / "results.md").write_text((DOCS / "results.md").read_text())
    for runs in (RUNS, study.Runs(scale=3, test_data=(Path("Set5"), Path("Set14")))):
        page = page_of(runs.key, [f"{runs.key} table", f"{runs.key} scales"], tmp_path)
        write_between_markers(page, f"{runs.key} table", "measured")
        assert "measured" in page.read_text()
    assert page.name == "results_super_resolution_espcn_x3_Set5_Set14.md"


def test_the_table_of_scales_has_a_row_for_each_number_of_bits():
    found = {f"W{b}: {s}": 30 + b + i / 10 for b in study.BITS for i, s in enumerate(study.SCALES_OF_WEIGHTS)}
    assert "| W2 | 32.00 | 32.10 | 32.20 |" in scale_table(found)
