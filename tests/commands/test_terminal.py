"""What the command shows in terminals, pipes and files, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial

import pytest

from tests.commands.running import COMMAND, environment, in_terminal, run, without_colours
from tests.openvino.exported import exported_small


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for bits in (2, 3):
        exported_small(folder, bits, name=f"{bits}.xml")
    (folder / "good.json").write_text('{"compression": {"algorithm": "slb"}}')
    (folder / "bad.json").write_text('{"compression": {"algorithm": "slb", "weights": {"bits": 9}}}')
    return folder


@pytest.mark.parametrize("call", [("inspect", "2.xml", "3.xml"), ("check", "good.json", "bad.json")], ids=" ".join)
def test_colours_are_for_terminals_and_repeat_what_words_say(call, files):
    piped = run(*call, cwd=files)
    status, coloured = in_terminal(*call, cwd=files)
    assert "\x1b[" in coloured and "\x1b" not in piped.stdout and status == piped.returncode
    assert without_colours(coloured) == piped.stdout


def test_no_color_leaves_no_escapes(files):
    call = ("check", "good.json", "bad.json")
    assert in_terminal(*call, cwd=files, NO_COLOR="1") == (1, run(*call, cwd=files).stdout)


def test_a_narrow_table_says_so_with_a_sign_that_the_encoding_has(files):
    for encoding, sign in (("utf-8", "…"), ("ascii", "~")):
        shown = run("inspect", "2.xml", "3.xml", cwd=files, COLUMNS="60", PYTHONIOENCODING=encoding).stdout
        assert max(map(len, shown.splitlines())) <= 60 and "names are shortened to 60 columns" in shown
        assert sign in shown and "\\u2026" not in shown


def test_help_is_quick_because_nothing_large_is_loaded():
    code = (
        "import sys; from nncf_slb.cli import main\ntry: main(['quantize', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'nncf', 'openvino', 'onnx', 'pydantic', 'rich.console'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_version_is_told():
    from nncf_slb.version import __version__

    assert run("--version").stdout == f"nncf-slb {__version__}\n"


def test_an_option_has_no_short_form_and_a_command_must_be_one(tmp_path):
    for call in (["inspect", "m.xml", "--jso"], ["inspct", "m.xml"], []):
        done = run(*call, cwd=tmp_path)
        assert done.returncode == 2 and "error: " in done.stderr and not done.stdout


def test_a_reader_that_leaves_is_no_error():
    with subprocess.Popen(
        [*COMMAND, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as left:
        left.stdout.close()
        assert left.stderr.read() == b"" and left.wait() == 0


def test_closed_outputs_mix_nothing_up(tmp_path):
    def shell(line):
        whole = ["sh", "-c", line.replace("nncf-slb", " ".join(COMMAND))]
        return subprocess.run(whole, capture_output=True, text=True, cwd=tmp_path, env=environment())

    done = shell("nncf-slb inspect missing.xml --json 2>&-")
    assert done.returncode == 2 and json.loads(done.stdout)["exit_status"] == 2 and not done.stderr
    done = shell("nncf-slb schema >&-")
    assert done.returncode == 0 and not done.stdout and not done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_an_output_that_cannot_be_written_is_wrong_use():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "schema"], stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
    assert done.returncode == 2 and done.stderr.startswith("error: the standard output cannot be written")


def test_ctrl_c_ends_with_130_and_no_traceback(tmp_path):
    (tmp_path / "slow.py").write_text("import time\ndef load():\n    print('waits', flush=True)\n    time.sleep(60)")
    (tmp_path / "c.json").write_text('{"compression": {"algorithm": "slb"}}')
    process = subprocess.Popen(
        [*COMMAND, "check", "c.json", "--model", "slow:load", "--json"], cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # what a shell runs behind itself ignores it
    )  # fmt: skip
    assert process.stderr.readline() == "waits\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == "error: interrupted\n" and '"exit_status": 130' in out


@pytest.mark.skipif(not os.path.exists("/bin/bash"), reason="needs bash")
def test_bash_completes_commands_options_and_choices(tmp_path):
    script = tmp_path / "completion.bash"
    script.write_text(run("completion", "bash").stdout)

    def completed(*words):
        typed = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}"
        code = f'source {script}; {typed}; _shtab_nncf_slb; printf "%s\\n" "${{COMPREPLY[@]}}"'
        return subprocess.run(["bash", "-c", code], capture_output=True, text=True).stdout.split()

    assert completed("nncf-slb", "in") == ["init", "inspect"]
    assert completed("nncf-slb", "verify", "--tol") == ["--tolerance"]
    assert completed("nncf-slb", "completion", "z") == ["zsh"]


def test_other_shells_get_scripts_too():
    assert (
        "#compdef nncf-slb" in run("completion", "zsh").stdout
        and "complete nncf-slb" in run("completion", "tcsh").stdout
    )


def test_the_progress_of_a_search_renews_one_line_that_fits_the_terminal(tmp_path):
    call = ("quantize", "tests.commands.test_json:to_quantize", "--steps", "20", "--no-latency", "-o", "q.xml")
    status, shown = in_terminal(*call, columns=60, cwd=tmp_path)
    renewed = [part for part in without_colours(shown).split("\r") if part.startswith("step ")]
    assert status == 0 and len(renewed) == 20 and re.match(r"step 19 of 20, \d+ s left, distance", renewed[-2])
    assert all(len(part.splitlines()[0]) < 60 for part in renewed)
