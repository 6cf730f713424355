"""The report: one HTML file that holds everything it shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nncf_slb.errors import SettingError
from nncf_slb.files import new_file
from nncf_slb.reports import views
from nncf_slb.reports.charts import LEVELS
from nncf_slb.reports.data import Run, distinct_titles, read_run
from nncf_slb.reports.findings import findings
from nncf_slb.reports.formatting import shortened
from nncf_slb.reports.networks import sentence
from nncf_slb.version import __version__

_NAME = "report.html"


def write_report(
    paths: Sequence[Path], output: Path | None = None, device: str = "CPU", latency: bool = True
) -> Path:
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
        raise SettingError(f"--output: received {target}; allowed are names that end in .html")
    runs = [read_run(path, device, latency) for path in paths]
    distinct_titles(runs)
    text = page(runs)
    try:
        with new_file(target) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingError(f"--output: {target} cannot be written ({error.strerror or error})") from error
    return target


def page(runs: Sequence[Run]) -> str:
    """HTML of the report."""
    environment = Environment(
        loader=PackageLoader("nncf_slb.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    loader = environment.loader
    assert loader is not None
    style, script = (Markup(loader.get_source(environment, name)[0]) for name in ("report.css", "report.js"))
    return environment.get_template("report.html").render(
        runs=runs, views=views, findings=findings, sentence=sentence, shortened=shortened, levels=LEVELS,
        style=style, script=script, version=__version__, today=date.today().isoformat(),
    )  # fmt: skip


def _place(path: Path) -> Path:
    return path / _NAME if path.is_dir() else path.with_name(f"{path.stem}_{_NAME}")
