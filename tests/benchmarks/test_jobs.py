"""Jobs of a study: they resume, refuse mixtures, and end together."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from benchmarks import jobs, pool
from benchmarks.accuracy import ablation, results
from samples.classification.recipes import RECIPES
from tests.benchmarks.digits_study import DIGITS


def test_jobs_run_once_and_begin_from_one_another(tmp_path):
    study = pool.Study(tmp_path, processes=2)
    start = replace(DIGITS.float_start("w1a32", 0), config={**DIGITS.float_start("w1a32", 0).config, "epochs": 1})
    (first, *_), short = ablation.variants(DIGITS, 2, (0,)), {"epochs": 2}
    search = replace(first, config={**first.config, **short}, start=start.name)
    done = pool.run_jobs([start, search], study)
    assert set(done) == {start.name, search.name}
    assert "test_top1" not in done[search.name]  # this study chooses by validation, and leaves the test set alone
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pth")}
    assert pool.run_jobs([start, search], study) == done
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pth")} == written
    (row,) = results.rows([search], tmp_path, results.load("none")).values()
    assert row["method"] == "base"


def test_a_failed_job_is_reported_with_its_log(tmp_path):
    job = jobs.Job("bad", RECIPES["resnet20_cifar10_w1a32"])  # its data is not here
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


def test_a_terminated_study_takes_its_processes_along(tmp_path):
    """What a shell runs in the background ignores Ctrl-C, so SIGTERM is what people end it with."""
    file = tmp_path / "endless/process"

    def terminate():
        while not file.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate).start()
    with pytest.raises(KeyboardInterrupt):
        pool.run_jobs([jobs.Job("endless", {})], pool.Study(tmp_path, worker="tests.benchmarks.endless_worker"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)
