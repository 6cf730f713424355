"""``nncf-slb report``: one HTML page of runs and files."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncf_slb.commands.command import GOOD, Command, Result
from nncf_slb.errors import printable


@dataclass(frozen=True)
class Written:
    """A page.

    Attributes:
        output: The file.
        bytes: Its size.
    """

    output: str
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return dataclasses.asdict(self)

    def to_str(self) -> str:
        """One line for the terminal."""
        return f"{printable(self.output)} written, {self.bytes / 1000:,.0f} kB; open it in a browser"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN_OR_IR", help="folder of a run, or .xml file; two or more are shown "
        "beside each other")  # fmt: skip
    add("-o", "--output", type=Path, help=".html file to write (default: report.html in the folder of the first)")
    add("--device", default="CPU", help="OpenVINO device that files are compiled for (default: CPU)")
    add("--no-latency", action="store_true", help="measure no latency of files whose run has measured none")


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    from nncf_slb.reports.page import write_report

    path = write_report(arguments.runs, arguments.output, arguments.device, not arguments.no_latency)
    return Written(str(path), path.stat().st_size), GOOD


COMMAND = Command(
    "report", "write an HTML page of a run, or of an exported IR", "report runs/mine", _add_arguments, _run
)
