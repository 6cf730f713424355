"""The notebooks run from the first cell to the last, and are kept with what they printed and drew."""

import os
from pathlib import Path

import pytest

from nncf_slb.hosts.installed import has_builders

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "samples" / "notebooks").glob("*.ipynb"))
nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")


def drawings(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_and_draws(file, tmp_path, monkeypatch):
    if "from_an_nncf_pipeline" in file.name and not has_builders():
        pytest.skip("needs NNCF 2.19")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(file, as_version=4)
    kept = drawings(notebook)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert drawings(notebook) == kept > 0
    assert list(tmp_path.glob("*.xml"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_kept_executed_and_small_and_names_no_folder_of_a_machine(file):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    text = file.read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert not [folder for folder in ("/home/", "/root/", "/tmp/", "/usr/", "site-packages") if folder in text]
