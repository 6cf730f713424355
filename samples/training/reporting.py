"""The end of a demo: what was lost and gained on the terminal, and all of it on a page."""

from __future__ import annotations

from pathlib import Path

from nncf_slb.reports.data import read_run
from nncf_slb.reports.networks import sentence
from nncf_slb.reports.page import write_report
from nncf_slb.reports.side_by_side import comparison
from nncf_slb.tables import terminal_table
from samples.training.progress import console


def show_report(folder: Path, output: Path) -> Path:
    """Print the networks of a run side by side, and write its report.

    Args:
        folder: Folder of the run.
        output: ``.html`` file.
    """
    run = read_run(folder, latency=False)
    table = comparison(run)
    rows = [[cell.text for cell in row] for row in table.rows]
    sides = "".join("r" if index in table.numbers else "w" for index in range(len(table.header)))
    for text in (terminal_table(table.header, rows, sides), sentence(run)):
        console.print(text, highlight=False, soft_wrap=True, markup=False)
    return write_report([folder], output)
