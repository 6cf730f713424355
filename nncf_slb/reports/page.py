"""The report: one HTML file that holds everything it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nncf_slb.errors import SettingError, printable
from nncf_slb.files import new_file
from nncf_slb.reports import details, drawings, side_by_side
from nncf_slb.reports.charts import LEVELS
from nncf_slb.reports.data import Run, distinct_titles, read_run
from nncf_slb.reports.findings import Finding, findings
from nncf_slb.reports.formatting import listed, shortened
from nncf_slb.reports.networks import sentence
from nncf_slb.reports.tables import Table
from nncf_slb.version import __version__

_NAME = "report.html"


@dataclass(frozen=True)
class Shown:
    """What the page shows of one run; parts are empty or None where nothing is known."""

    title: str
    sentence: str
    counter: str
    cards: list[side_by_side.Card]
    comparison: Table
    findings: list[Finding]
    numbers: Table
    heat: drawings.HeatMap | None
    values: list[tuple[str, str, str, Markup]]
    layers: Table
    kept: list[tuple[str, str]]
    sensitivities: Table | None
    verification: tuple[list[str], Table] | None
    facts: list[tuple[str, str]]
    commands: list[str]
    config: str

    @classmethod
    def of(cls, run: Run, index: int) -> Shown:
        """Everything about a run; the index keeps names of drawings apart."""
        return cls(
            run.title, sentence(run), run.counter, side_by_side.cards(run), side_by_side.comparison(run), findings(run),
            drawings.numbers_of_curves(run), drawings.heat_map(run), drawings.chosen_values(run, f"r{index}"),
            details.layers(run), details.kept_layers(run), details.sensitivities(run), details.verification(run),
            details.facts(run), run.facts.commands if run.facts else [], details.config(run),
        )  # fmt: skip


def write_report(paths: Sequence[Path], output: Path | None = None, device: str = "CPU", latency: bool = True) -> Path:
    """Write the report of runs and files, which are shown beside each other.

    Args:
        paths: Folders of runs, or ``.xml`` files of exported IR.
        output: ``.html`` file to write; by default ``report.html`` in the first run's folder, or beside the file with
            its name in front.
        device: OpenVINO device that files are compiled for.
        latency: Whether to measure the latency of files that no run has measured.

    Returns:
        The file that was written.

    Raises:
        SettingError: If there is no run or file, or the output has another ending.
        nncf_slb.openvino.ir.IrError: If a file cannot be used.
        nncf_slb.errors.DeviceError: If the device cannot compile a file.
    """
    if not paths:
        raise SettingError("run: received nothing; name a folder of a run or an .xml file")
    target = output or _place(paths[0])
    if target.suffix not in (".html", ".htm"):
        raise SettingError(f"--output: received {printable(target)}; allowed are names that end in .html")
    runs = [read_run(path, device, latency) for path in paths]
    distinct_titles(runs)
    text = page(runs)
    try:
        with new_file(target) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingError(f"--output: {printable(target)} cannot be written ({error.strerror or error})") from error
    return target


def page(runs: Sequence[Run]) -> str:
    """HTML of the report."""
    environment = Environment(
        loader=PackageLoader("nncf_slb.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("report.html")
    return template.render(
        shown=[Shown.of(run, index) for index, run in enumerate(runs)], curves=drawings.curves(runs),
        both=side_by_side.runs_beside(runs) if len(runs) > 1 else None, shortened=shortened, levels=LEVELS,
        title=listed([run.title for run in runs]), style=_part(environment, "report.css"),
        script=_part(environment, "report.js"), version=__version__, today=date.today().isoformat(),
    )  # fmt: skip


def _part(environment: Environment, name: str) -> Markup:
    """A file beside the template, as it is."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _place(path: Path) -> Path:
    return path / _NAME if path.is_dir() else path.with_name(f"{path.stem}_{_NAME}")
