"""The docs show the speed of every machine that was measured."""

from pathlib import Path

from benchmarks.openvino.machines import figures, tables

DOCS = Path(__file__).resolve().parents[2] / "docs/openvino.md"


def test_the_table_of_machines_is_what_their_files_say():
    assert tables() in DOCS.read_text(), "run: python -m benchmarks.openvino.machines docs/openvino.md"
    assert len(figures()) >= 2
