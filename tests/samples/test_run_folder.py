"""One run in one folder, nothing left by killed ones, and nothing written elsewhere."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nncf_slb.files import new_file, remove_leftovers
from samples.classification.main import main
from samples.training.run_folder import FolderError, held
from tests.samples.test_interruptions import RECORDED

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
OWN = ["--recipe", "digits_net_digits_float", "--epochs", "1", "--mode", "train"]
HOLD = """
import sys, time
from pathlib import Path
from samples.training.run_folder import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
DIE_WRITING = """
import os, signal, sys
from pathlib import Path
from nncf_slb.files import new_file
with new_file(Path(sys.argv[1])) as partial:
    partial.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def start(code, path):
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)


def test_two_runs_in_one_folder_are_refused_until_the_first_is_dead(tmp_path, capsys):
    other = start(HOLD, tmp_path / "log")
    assert other.stdout.readline() == "held\n"
    assert main([*OWN, "--log-dir", str(tmp_path / "log")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and f"another run is writing to '{tmp_path}/log'" in errors[0]
    assert "--log-dir" in errors[0] and not list((tmp_path / "log").iterdir())
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert main([*OWN, "--log-dir", str(tmp_path / "log")]) == 0


def test_a_folder_that_stays_empty_is_removed_with_those_made_for_it(tmp_path):
    with held(tmp_path / "a/b"), held(tmp_path / "a/b"):
        assert (tmp_path / "a/b").is_dir()
    assert not (tmp_path / "a").exists()
    with held(tmp_path / "a/b"):
        (tmp_path / "a/b/file").touch()
    assert (tmp_path / "a/b/file").exists()


def test_processes_that_load_data_do_not_hold_the_folder(tmp_path):
    with held(tmp_path):
        child = os.fork()
        if not child:
            signal.pause()
    try:
        other = start(HOLD, tmp_path)
        assert other.stdout.readline() == "held\n"
    finally:
        for process in (child, other.pid):
            os.kill(process, signal.SIGKILL)
        os.waitpid(child, 0)
        other.wait()


@pytest.mark.parametrize("mode", ["train", "export"])
def test_a_folder_that_cannot_be_written_is_one_line(mode, tmp_path, capsys):
    assert main([*OWN[:-1], mode, "--log-dir", "/proc/nncf_slb/log"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and "nothing can be written to '/proc/nncf_slb/log'" in errors[0]


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(FolderError, match="it is read-only"), held(tmp_path):
        pass


def test_what_a_killed_writer_left_goes_with_the_next_one_and_living_writers_keep_theirs(tmp_path):
    target, other = tmp_path / "last.pth", tmp_path / "best.pth"
    target.write_bytes(b"former")
    for path in (target, other):
        assert start(DIE_WRITING, path).wait() == -signal.SIGKILL
    assert target.read_bytes() == b"former" and len(list(tmp_path.glob(".*"))) == 2
    with new_file(target) as first:
        first.write_bytes(b"first")
        with new_file(target) as second:
            second.write_bytes(b"second")
            assert first.exists() and len(list(tmp_path.glob(".last.pth.*"))) == 2
            remove_leftovers(tmp_path)  # that of best.pth
            assert first.exists() and not list(tmp_path.glob(".best.pth.*"))
    assert target.read_bytes() == b"first" and [path.name for path in tmp_path.iterdir()] == ["last.pth"]


def test_nothing_is_written_but_the_log_folder(tmp_path):
    for name in ("home", "cwd"):
        (tmp_path / name).mkdir()
    environment = {**ENVIRONMENT, "HOME": str(tmp_path / "home")}
    command = [
        sys.executable,
        "-m",
        "samples.classification.main",
        "--recipe",
        "digits_net_digits_w2a32",
        "--epochs",
        "1",
    ]
    command += ["--mode", "train", "test", "export", "--log-dir", str(tmp_path / "log")]
    done = subprocess.run(command, cwd=tmp_path / "cwd", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not any(path for name in ("home", "cwd") for path in (tmp_path / name).iterdir())
    written = {path.name for path in (tmp_path / "log").iterdir()}
    assert written == {"last.pth", "best.pth", *RECORDED, "model.xml", "model.bin"}
