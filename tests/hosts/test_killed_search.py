"""A search without labels that is killed goes on from its file to the same codes, and leaves nothing beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nncf_slb
from nncf_slb.errors import SettingError
from nncf_slb.hosts.torch.checkpoint import SearchFile
from tests.plain_networks import DigitsNet

ROOT = Path(__file__).parents[2]
# Says each step and waits for an answer, saves after each, and writes the codes in the end.
SEARCH = """
import sys
import torch
import nncf_slb
from nncf_slb.hosts.torch import checkpoint
from tests.plain_networks import DigitsNet

checkpoint._SECONDS = 0.0
torch.manual_seed(0)
model, images = DigitsNet().eval(), torch.randn(300, 1, 8, 8)
own = sys.argv[1] if sys.argv[1] != "none" else None


def say(now):
    print(now.step, flush=True)
    sys.stdin.readline()


found = nncf_slb.search_post_training(model, images, steps=30, checkpoint=own, progress=say)
torch.save(found.model.state_dict(), sys.argv[2])
"""


def start(*arguments, stdin=subprocess.DEVNULL):
    command = [sys.executable, "-c", SEARCH, *map(str, arguments)]
    # Sums of several threads may differ in their last bits from run to run.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=stdin, stdout=subprocess.PIPE, text=True)


def test_a_killed_search_goes_on_to_the_same_codes(tmp_path):
    folder, file = tmp_path / "search", tmp_path / "search" / "search.pt"
    folder.mkdir()
    assert start("none", tmp_path / "whole.pt").wait() == 0
    firsts = []
    for kill_at in (5, 17, None):
        search = start(file, tmp_path / "killed.pt", stdin=subprocess.PIPE)
        steps = []
        for line in search.stdout:
            steps.append(int(line))
            if kill_at is not None and steps[-1] >= kill_at:
                search.kill()
                break
            search.stdin.write("\n")
            search.stdin.flush()
        search.communicate()
        firsts.append(steps[0])
    assert firsts[0] == 1 < firsts[1] < firsts[2] and steps[-1] == 30
    whole, killed = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert [path.name for path in folder.iterdir()] == ["search.pt"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A call, and the file that it has written."""
    torch.manual_seed(0)
    model, images = DigitsNet().eval(), torch.randn(200, 1, 8, 8)
    file = tmp_path_factory.mktemp("search") / "search.pt"

    def search(path=file):
        return nncf_slb.search_post_training(model, images, steps=2, checkpoint=path)

    search()
    return search, torch.load(file, weights_only=True)


DAMAGES = {
    "no search": lambda state: state.pop("search"),
    "step is text": lambda state: state["search"].update(step="2"),
    "step beyond the end": lambda state: state["search"].update(step=3),
    "negative step": lambda state: state["search"].update(step=-1),
    "no network": lambda state: state["search"].update(network=None),
    "network lacks a tensor": lambda state: state["search"]["network"].popitem(),
    "not finite": lambda state: next(iter(state["search"]["network"].values())).view(-1)[0].fill_(torch.nan),
    "optimizer is a list": lambda state: state["search"].update(optimizer=[]),
    "mean of another shape": lambda state: state["search"]["optimizer"]["state"][0].update(exp_avg=torch.zeros(3)),
    "mean is not finite": lambda state: state["search"]["optimizer"]["state"][0]["exp_avg"].fill_(torch.inf),
    "groups are text": lambda state: state["search"]["optimizer"].update(param_groups="x"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_an_error_that_names_it(searched, name, tmp_path):
    search, state = searched
    torch.save(state, tmp_path / "damaged.pt")
    damaged = torch.load(tmp_path / "damaged.pt", weights_only=True)
    DAMAGES[name](damaged)
    torch.save(damaged, tmp_path / "damaged.pt")
    with pytest.raises(SettingError, match=r"checkpoint: received .*damaged\.pt"):
        search(tmp_path / "damaged.pt")


def test_a_changed_byte_is_an_error(searched, tmp_path):
    search, state = searched
    torch.save(state, tmp_path / "search.pt")
    content = bytearray((tmp_path / "search.pt").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "search.pt").write_bytes(content)
    with pytest.raises(SettingError, match="no file of a search"):
        search(tmp_path / "search.pt")


def test_a_file_that_cannot_be_written_is_said_and_the_former_one_stays(searched, tmp_path, monkeypatch, caplog):
    _, state = searched
    file = tmp_path / "search.pt"
    torch.save(state, file)
    before = file.read_bytes()

    def fail(content, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    SearchFile(file, "").save(type("Training", (), {"state_dict": lambda self: {}})(), now=True)
    assert "cannot be written ([Errno 28] No space left on device); the search goes on" in caplog.text
    assert file.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["search.pt"]
