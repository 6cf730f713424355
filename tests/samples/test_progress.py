"""What a training shows: bars with time left in a terminal, one line an epoch elsewhere."""

import re
import subprocess
import sys

import pytest

from tests.commands.running import ROOT, environment, in_terminal, without_colours

TRAIN = ["-m", "samples.classification.main", "--recipe", "digits_net_digits_w2a32", "--epochs", "2", "--mode", "train"]
LINE = re.compile(r"epoch (\d)/2  loss \d\.\d{4}  val top-1 [\d.]+%  1/tau [\d.]+  confidence 0\.\d{3}  lr [\d.]+")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What a terminal of 80 and of 60 columns, and a pipe, get to see."""
    folder = tmp_path_factory.mktemp("runs")
    arguments = [*TRAIN, "--log-dir", str(folder / "run")]
    seen = {
        width: in_terminal(*arguments, command=[sys.executable], columns=width, cwd=ROOT) for width in (80, 60)
    }  # fmt: skip
    piped = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment())
    return {**seen, "pipe": (piped.returncode, piped.stdout)}


def test_a_pipe_gets_one_line_an_epoch(shown):
    status, text = shown["pipe"]
    assert status == 0 and "\r" not in text and "\x1b" not in text
    assert [LINE.fullmatch(line)[1] for line in text.splitlines() if line.startswith("epoch")] == ["1", "2"]


@pytest.mark.parametrize("width", [80, 60])
def test_a_terminal_gets_a_bar_with_time_left_and_how_the_search_stands(shown, width):
    status, text = shown[width]
    frames = without_colours(text).replace("\r", "\n")
    assert status == 0 and re.search(r"epoch 2/2 +[━╸╺]+ +\d\d:\d\d left .*1/tau", frames)
    assert re.search(r"left +val top-1 [\d.]+%", frames) and re.search(r"validation +[━╸╺]+", frames)
    assert re.search(r"confidence 0\.\d{3} *\n", frames)
    bars = [line for line in frames.splitlines() if "━" in line and "left" in line]
    assert max(map(len, bars)) <= width
    assert [found[1] for found in LINE.finditer(frames)] == ["1", "2"]
