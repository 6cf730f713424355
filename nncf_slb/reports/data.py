"""A run or a file as a report reads it; what cannot be read is named, and the rest is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nncf_slb.errors import SettingError, SLBError, printable
from nncf_slb.openvino.benchmark import benchmark_openvino
from nncf_slb.openvino.inspection import Inspection, LayerInspection, inspect_openvino
from nncf_slb.openvino.ir import IrError
from nncf_slb.reports.facts import LayerPlan, RunFacts
from nncf_slb.reports.lines import LayerMoment, Moment, Network, Verified
from nncf_slb.reports.recording import FACTS, METRICS, RESULTS, Counter, read_facts, read_lines

_ROUNDS = 20


@dataclass(frozen=True)
class Layer:
    """What is known of one layer, of the run and of the file.

    Attributes:
        name: Path of the module.
        plan: What the run searched; None where it did not, or there is no run.
        last: Its last numbers in the run.
        found: What the file holds; None without a file.
    """

    name: str
    plan: LayerPlan | None
    last: LayerMoment | None
    found: LayerInspection | None

    @property
    def zero_channels(self) -> int:
        """Output channels whose weights are all zero, of the file where there is one."""
        if self.found is not None and self.found.coded:
            return self.found.zero_channels
        return 0 if self.last is None else self.last.zero_channels


@dataclass
class Run:
    """A run, or a file without one.

    Attributes:
        title: Name in the report.
        path: Folder of the run, or the file.
        facts: What it says of itself; None where nothing does.
        counter: What its lines count.
        moments: Its lines of numbers, of the last search.
        networks: Measured networks by name.
        verified: Comparison of the file with PyTorch.
        inspection: What the file holds.
        ended: Whether the run has reached its end.
        problems: What cannot be read, a sentence each.
    """

    title: str
    path: Path
    facts: RunFacts | None = None
    counter: Counter = "epoch"
    moments: list[Moment] = field(default_factory=list)
    networks: dict[str, Network] = field(default_factory=dict)
    verified: Verified | None = None
    inspection: Inspection | None = None
    ended: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Epochs or steps of the whole run, as far as known."""
        return max(self.facts.length if self.facts else 0, self.moments[-1].count if self.moments else 0)

    @property
    def layers(self) -> list[Layer]:
        """Layers in the order of the file, then those that only the run knows."""
        plans = {plan.name: plan for plan in (self.facts.layers if self.facts else ())}
        last = self.moments[-1].layers if self.moments else {}
        found = self.inspection.layers if self.inspection else ()
        named = {layer.name for layer in found}
        rows = [Layer(layer.name, plans.get(layer.name), last.get(layer.name), layer) for layer in found]
        others = dict.fromkeys([*plans, *last])
        return rows + [Layer(name, plans.get(name), last.get(name), None) for name in others if name not in named]


def read_run(path: Path, device: str = "CPU", latency: bool = True) -> Run:
    """What a folder of a run, or an ``.xml`` file, holds.

    Args:
        path: The folder or the file.
        device: OpenVINO device that the file is compiled for.
        latency: Whether to measure the latency of a file that the run has not measured.

    Raises:
        SettingError: If there is neither.
        nncf_slb.openvino.ir.IrError: If it is a file that cannot be used.
        nncf_slb.errors.DeviceError: If the device cannot compile it.
    """
    if path.is_dir():
        run = _read_folder(path, device)
    elif path.suffix == ".xml":
        run = Run(printable(path.name), path, inspection=inspect_openvino(path, device))
        run.networks["IR"] = Network(name="IR", file=path.name)
    else:
        why = "which is no folder of a run and no .xml file" if path.exists() else "which does not exist"
        raise SettingError(
            f"run: received {printable(path)}, {why}; allowed are folders of runs and .xml files of exported IR"
        )
    if run.inspection is not None:
        _complete(run, run.inspection, device if latency else None)
    return run


def _read_folder(folder: Path, device: str) -> Run:
    run = Run(printable(folder.resolve().name), folder)
    run.facts, problem = read_facts(folder)
    if problem:
        run.problems.append(f"{FACTS} cannot be read ({problem})")
    if run.facts is not None and run.facts.way == "post-training":
        run.counter = "step"
    lines, broken = read_lines(folder / METRICS)
    moments = _moments(lines)
    results, broken_results = read_lines(folder / RESULTS)
    broken_results += _take_results(run, results)
    for file, count in ((METRICS, broken + len(lines) - len(moments)), (RESULTS, broken_results)):
        if count:
            run.problems.append(f"{count} line{'s' * (count > 1)} of {file} cannot be read")
    run.moments = [moment for moment in moments if moment.search == moments[-1].search] if moments else []
    chosen = [line.get("search") for line in results if line.get("kind") == "end"]
    if chosen and chosen[-1] is not None:
        run.moments = [moment for moment in moments if moment.search == chosen[-1]]
    _inspect(run, folder, device)
    if run.facts is None and not moments and run.inspection is None:
        inner = sorted({each.parent.name for name in (FACTS, METRICS) for each in folder.glob(f"*/{name}")})
        hint = f"; its folders {printable(', '.join(inner))} do" if inner else ""
        raise SettingError(
            f"run: received {printable(folder)}, which holds neither {FACTS} nor {METRICS} nor an .xml file of this "
            f"package{hint}. Allowed are folders that a run has written to"
        )
    return run


def _moments(lines: list[dict[str, Any]]) -> list[Moment]:
    found = []
    for line in lines:
        try:
            found.append(Moment.model_validate(line))
        except ValidationError:
            continue
    return found


def _take_results(run: Run, lines: list[dict[str, Any]]) -> int:
    """Take what was measured; gives the number of lines that cannot be read."""
    broken = 0
    for line in lines:
        try:
            if line.get("kind") == "end":
                run.ended = not line.get("interrupted")
            elif line.get("kind") == "verification":
                run.verified = Verified.model_validate(line)
            else:
                network = Network.model_validate(line)
                before = run.networks.get(network.name)
                run.networks[network.name] = network if before is None else _joined(before, network)
        except ValidationError:
            broken += 1
    return broken


def _joined(before: Network, after: Network) -> Network:
    stated = {name: value for name, value in after if value is not None}
    return before.model_copy(update={**stated, "scores": {**before.scores, **after.scores}})


def _inspect(run: Run, folder: Path, device: str) -> None:
    """The file that the run names, or else the newest in its folder that is one of this package's."""
    named = run.networks["IR"].file if "IR" in run.networks else None
    candidates = [folder / named] if named else []
    candidates += sorted(folder.glob("*.xml"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in dict.fromkeys(candidates):
        if path.exists():
            try:
                run.inspection = inspect_openvino(path, device)
                others = [printable(other.name) for other in candidates if other != path]
                if not named and others:
                    run.problems.append(
                        f"of several files the newest, {printable(path.name)}, is shown. Give the report the name of a "
                        f"file to see another: {', '.join(others)}"
                    )
                return
            except SLBError as error:
                if not isinstance(error, IrError) or path == (folder / named if named else None):
                    run.problems.append(str(error))
        else:
            run.problems.append(f"{printable(path)} is gone, which the run has exported")


def _complete(run: Run, inspection: Inspection, device: str | None) -> None:
    """Sizes of the file and of its float form, and the latency where it was not measured."""
    networks = run.networks
    ours = networks.setdefault("IR", Network(name="IR"))
    full = networks.setdefault("float", Network(name="float"))
    networks["IR"] = ours.model_copy(update={"bytes": inspection.bin_bytes})
    if full.bytes is None:
        networks["float"] = full.model_copy(update={"bytes": inspection.float_bytes})
    if device is not None and ours.milliseconds is None:
        try:
            timing = benchmark_openvino([inspection.path], device=device, rounds=_ROUNDS).timings[0]
        except SLBError as error:
            run.problems.append(f"the latency was not measured ({error})")
            return
        networks["IR"] = networks["IR"].model_copy(update={"milliseconds": timing.latency.median})


def distinct_titles(runs: list[Run]) -> None:
    """Give runs of the same name more of their paths, or a number, in place."""
    titles = [run.title for run in runs]
    for run in runs:
        if titles.count(run.title) > 1:
            run.title = f"{printable(run.path.resolve().parent.name)}/{run.title}"
    for index, run in enumerate(runs):
        if any(each.title == run.title for each in runs[:index]):
            run.title = f"{run.title} ({index + 1})"
