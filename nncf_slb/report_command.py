"""``nncf-slb report``: one HTML page of runs and files."""

from __future__ import annotations

import argparse
from pathlib import Path

from nncf_slb.errors import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN_OR_IR",
        help="folder of a run, or .xml file; two or more are shown beside each other",
    )
    add("-o", "--output", type=Path, help=".html file to write (default: report.html in the folder of the first)")
    add("--device", default="CPU", help="OpenVINO device that files are compiled for (default: CPU)")
    add("--no-latency", action="store_true", help="measure no latency of files whose run has measured none")


def run(arguments: argparse.Namespace) -> str:
    """Write the report.

    Args:
        arguments: As from `add_arguments`.

    Returns:
        Text for the terminal.

    Raises:
        SLBError: On anything that the user can mend.
    """
    from nncf_slb.reports.page import write_report

    path = write_report(arguments.runs, arguments.output, arguments.device, not arguments.no_latency)
    return f"{printable(path)} written, {path.stat().st_size / 1000:,.0f} kB; open it in a browser"
