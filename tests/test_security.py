"""What docs/security.md says about reading files is what the code does."""

import ast
import pickle
from pathlib import Path

import pytest
import torch

import nncf_slb
from tests.plain_networks import DigitsNet

ROOT = Path(__file__).parents[1]
FILES = [path for folder in ("nncf_slb", "samples", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
READERS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
UNPICKLING = {"load", "loads", "Unpickler"}
CONNECTING = {"urllib.request", "requests", "http.client", "socket", "httpx", "torch.hub"}


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("reader", READERS)
def test_files_are_read_without_unpickling(reader):
    keyword, wanted = READERS[reader]
    found = [call for path in FILES for call in calls(ast.parse(path.read_text())) if ast.unparse(call.func) == reader]
    given = [{k.arg: ast.unparse(k.value) for k in call.keywords}.get(keyword) for call in found]
    assert given and set(given) == {str(wanted)}


def test_nothing_unpickles_but_the_reader_of_cifar_which_knows_arrays_only():
    for path in FILES:
        tree = ast.parse(path.read_text())
        used = {ast.unparse(call.func) for call in calls(tree)}
        assert not used & {f"{module}.{name}" for module in ("pickle", "joblib", "dill") for name in UNPICKLING}, path
        derived = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
                   and "pickle.Unpickler" in map(ast.unparse, node.bases)]  # fmt: skip
        assert not derived or path.name == "cifar.py"


def test_no_file_opens_a_connection():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not set(names) & CONNECTING, path


class _Runs:
    """Writes a file where it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (open, (self.target, "w"))


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_checkpoint_that_holds_code_is_refused_and_runs_nothing(write, tmp_path):
    checkpoint, trace = tmp_path / "search.pt", tmp_path / "trace"
    write({"settings": _Runs(trace), "search": {}}, checkpoint)
    with pytest.raises(nncf_slb.SettingError, match="no file of a search"):
        nncf_slb.search_post_training(DigitsNet(), torch.randn(8, 1, 8, 8), steps=1, checkpoint=checkpoint)
    assert not trace.exists()
