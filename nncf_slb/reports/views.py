"""What each section of the page shows, as texts and drawings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nncf_slb.errors import printable
from nncf_slb.reports.charts import Curves, Series, bars, heat_row
from nncf_slb.reports.data import Layer, Network, Run
from nncf_slb.reports.formatting import MISSING, counted, digits, exact, listed, percent, score, shortened, size
from nncf_slb.reports.networks import EQUAL_SCORE, NAMES, PART_TITLES, TITLES, against_float, gain, speed
from nncf_slb.reports.scales import thinned

_MOST_ROWS = 120
_FIELDS, _FEWEST_COLUMNS, _MOST_COLUMNS = 6000, 30, 150  # of a heat map, so that a page stays small
_SHARES = ("confidence", "changed")


@dataclass(frozen=True)
class Card:
    """One of the large figures: its name, the figure, and a line on what it is compared with."""

    name: str
    figure: str
    below: str


@dataclass(frozen=True)
class Cell:
    """A cell of a table, with a bar whose width is a share of the widest, where it has one."""

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows.
        header: Names of the columns.
        rows: Cells; the first of each row is its name.
        numbers: Indices of columns of numbers, which stand on the right.
    """

    caption: str
    header: list[str]
    rows: list[list[Cell]]
    numbers: frozenset[int] = frozenset()


def _table(caption: str, columns: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str | Cell]]) -> Table:
    """A table without the columns that have no content; `columns` are names and whether they hold numbers."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    kept = [i for i in range(len(columns)) if i == 0 or any(row[i].text not in ("", MISSING) for row in cells)]
    numbers = frozenset(place for place, i in enumerate(kept) if columns[i][1])
    return Table(caption, [columns[i][0] for i in kept], [[row[i] for i in kept] for row in cells], numbers)


def cards(run: Run) -> list[Card]:
    """Score, size and latency."""
    found, unit = gain(run), _unit(run)
    full, ours = _network(run, "float"), _network(run, "IR")
    shown = []
    if found.ours is not None:
        below = "not compared with a float network"
        if found.full is not None:
            below = against_float(found.ours - found.full, unit)
            if abs(found.ours - found.full) >= EQUAL_SCORE:
                below += f", {score(found.full, unit)}"
        part = PART_TITLES.get(found.part or "", "")
        shown.append(Card(f"{_score_name(run)}{', ' + part if part else ''}", score(found.ours, unit), below))
    elif ours.agreement is not None:
        shown.append(Card("Agreement with float", score(ours.agreement, ours.unit or "%"), "on samples kept apart"))
    if ours.bytes is not None:
        times = "" if found.smaller is None else f"{digits(found.smaller)} times smaller than {size(full.bytes)}"
        shown.append(Card("Size of the weights", size(ours.bytes), times))
    if ours.milliseconds is not None:
        times = "the float network's was not measured"
        if found.faster is not None:
            times = f"{speed(found.faster)}, {digits(full.milliseconds)} ms"
        shown.append(Card("Latency, batch of 1", f"{digits(ours.milliseconds)} ms", times))
    return shown


def comparison(run: Run) -> Table:
    """Float, nearest, searched and exported network side by side."""
    parts = [part for part in PART_TITLES if any(n.scores.get(part) is not None for n in run.networks.values())]
    unit = _unit(run)
    found = [run.networks[name] for name in NAMES if name in run.networks]
    largest = max((network.bytes or 0 for network in found), default=0)
    slowest = max((network.milliseconds or 0 for network in found), default=0)
    full = _network(run, "float")
    columns = [
        ("Network", False), *((_part_title(run, part), True) for part in parts), ("Agreement with float", True),
        ("Bytes", True), ("Times smaller", True), ("Latency, ms", True), ("Times as fast", True),
    ]  # fmt: skip
    rows: list[list[str | Cell]] = [
        [
            TITLES[n.name], *(score(n.scores.get(part), unit) for part in parts),
            "" if n.agreement is None else score(n.agreement, n.unit or "%"),
            Cell(exact(n.bytes), n.bytes / largest if n.bytes and largest else None),
            _times(full.bytes, n.bytes),
            Cell(digits(n.milliseconds), n.milliseconds / slowest if n.milliseconds and slowest else None),
            _times(full.milliseconds, n.milliseconds),
        ]
        for n in found
    ]  # fmt: skip
    return _table("The networks side by side", columns, rows)


def side_by_side(runs: Sequence[Run]) -> Table:
    """What runs have and have not in common: a row for each figure, and for each setting that differs."""
    figures: list[tuple[str, Callable[[Run], str]]] = [
        ("Network", lambda run: run.facts.network if run.facts else MISSING),
        ("Mean bits of searched weights", _mean_bits),
        ("Score of the low-bit network", lambda run: score(gain(run).ours, _unit(run))),
        ("Score of the float network", lambda run: score(gain(run).full, _unit(run))),
        ("Bytes of the file", lambda run: exact(_network(run, "IR").bytes)),
        ("Times smaller than float", lambda run: digits(gain(run).smaller)),
        ("Latency, ms", lambda run: digits(_network(run, "IR").milliseconds)),
        ("Epochs or steps done", lambda run: f"{run.moments[-1].count if run.moments else 0:,} of {run.length:,}"),
        ("Confidence at the end", lambda run: percent(run.moments[-1].confidence if run.moments else None)),
        ("Choices changed at the end", lambda run: percent(run.moments[-1].changed if run.moments else None)),
    ]
    rows: list[list[str | Cell]] = [[name, *(shown(run) for run in runs)] for name, shown in figures]
    flat = [_flat(run.facts.config) if run.facts else {} for run in runs]
    for name in dict.fromkeys(name for each in flat for name in each):
        values = [each.get(name, "not set") for each in flat]
        if len(set(values)) > 1:
            rows.append([name, *values])
    columns = [("Figure or setting", False), *((run.title, False) for run in runs)]
    return _table("The runs beside each other", columns, rows)


def curves(runs: Sequence[Run]) -> list[Curves]:
    """Loss, score, 1/tau, confidence and changed choices of all runs."""
    along = " or ".join(dict.fromkeys(run.counter for run in runs if run.moments)) or "epoch"
    unit = next((_unit(run) for run in runs if run.facts), "")
    score_name = next((_score_name(run) for run in runs if run.facts), "Score")
    loss = "Loss" if any(run.counter == "epoch" for run in runs) else "Distance of the outputs"
    kinds = [
        ("loss", loss, ""), ("layer_loss", "Distance at the layers", ""),
        ("score", f"{score_name}, validation", unit), ("inverse_temperature", "1/tau", "logarithmic"),
        ("confidence", "Confidence", "mean over the weights"),
        ("changed", "Changed choices", "share of the weights"),
    ]  # fmt: skip
    found = []
    for name, title, text in kinds:
        series = [
            Series(
                run.title, [(m.count, value) for m in run.moments if (value := getattr(m, name)) is not None], index % 4
            )
            for index, run in enumerate(runs)
        ]
        if any(each.points for each in series):
            log = name == "inverse_temperature" and all(value > 0 for each in series for _, value in each.points)
            references = _references(runs[0]) if name == "score" and len(runs) == 1 else {}
            known = [each for each in series if each.points]
            found.append(Curves(name, title, text, along, known, references, log, name in _SHARES))
    return found


def numbers_of_curves(run: Run) -> Table:
    """The numbers behind the curves."""
    unit = _unit(run)
    rows = [
        [
            f"{moment.count:,}", digits(moment.loss, 4), digits(moment.layer_loss, 4), score(moment.score, unit),
            digits(moment.inverse_temperature), percent(moment.confidence), percent(moment.changed, 2),
        ]
        for moment in (run.moments[index] for index in thinned(len(run.moments), _MOST_ROWS))
    ]  # fmt: skip
    loss = "Loss" if run.counter == "epoch" else "Distance of the outputs"
    names = (run.counter.capitalize(), loss, "Distance at the layers", f"{_score_name(run)}, validation", "1/tau")
    columns = [(name, True) for name in (*names, "Confidence", "Changed choices")]
    return _table(f"Numbers by {run.counter}", columns, rows)


@dataclass(frozen=True)
class HeatMap:
    """Confidence of each layer over the run.

    Attributes:
        rows: Name, shortened name, strip, and last confidence of each layer.
        low: Share of the faintest field, as text.
        first: Count at the left end.
        last: Count at the right end.
    """

    rows: list[tuple[str, str, Markup, str]]
    low: str
    first: str
    last: str


def heat_map(run: Run) -> HeatMap | None:
    """Confidence of each layer over the run; None without layers."""
    names = dict.fromkeys(name for moment in run.moments for name in moment.layers)
    if not names:
        return None
    by_layer = {
        name: [moment.layers[name].confidence if name in moment.layers else None for moment in run.moments]
        for name in names
    }
    known = [share for shares in by_layer.values() for share in shares if share is not None]
    low = min(0.9, int(min(known, default=0.0) * 10) / 10)
    most = max(_FEWEST_COLUMNS, min(_MOST_COLUMNS, _FIELDS // len(by_layer)))
    rows = []
    for name, shares in by_layer.items():
        ends = [share for share in shares if share is not None]
        words = f"{percent(ends[0])} at the beginning, {percent(ends[-1])} at the end" if ends else "not known"
        last = percent(ends[-1]) if ends else MISSING
        rows.append((name, shortened(name), heat_row(f"Confidence of {name}", shares, low, most, words), last))
    first, last_count = run.moments[0].count, run.moments[-1].count
    return HeatMap(rows, percent(low, 0), f"{run.counter} {first:,}", f"{run.counter} {last_count:,}")


def chosen_values(run: Run, prefix: str) -> list[tuple[str, str, str, Markup]]:
    """Name, shortened name, a note and bars of each searched layer."""
    shown = []
    for index, layer in enumerate(run.layers):
        if layer.last is not None and layer.last.histogram:
            values = layer.plan.values if layer.plan is not None else []
            drawing = bars(f"{prefix}-v{index}", f"Chosen values of {layer.name}", values, layer.last.histogram)
            note = (
                "" if layer.plan is None else f"{counted(layer.plan.bits, 'bit')}, {exact(layer.plan.weights)} weights"
            )
            shown.append((layer.name, shortened(layer.name, 24), note, drawing))
    return shown


def layers(run: Run) -> Table:
    """Bits, bytes, kernel and precision of each layer."""
    columns = [
        ("Layer", False), ("Operation", False), ("Weights", True), ("Bits searched", True), ("Stored as", False),
        ("Bytes", True), ("Bits in the file", True), ("Kernel", False), ("Precision", False), ("Confidence", True),
        ("Lowest", True), ("Zero channels", True),
    ]  # fmt: skip
    most = max((layer.found.bytes for layer in run.layers if layer.found is not None), default=0)
    any_zeros = any(layer.zero_channels for layer in run.layers)
    rows = []
    for layer in run.layers:
        found, last = layer.found, layer.last
        rows.append([
            layer.name, found.op if found else "", exact(_weights(layer)), _bits(layer),
            found.stored if found else "", Cell(exact(found.bytes), found.bytes / most) if found and most else "",
            f"{found.effective_bits:.2f}" if found else "", found.kernel if found else "",
            found.precision if found else "", percent(last.confidence) if last else "",
            percent(last.lowest) if last else "", f"{layer.zero_channels}" if any_zeros else "",
        ])  # fmt: skip
    return _table("Layers with weights, in the order in which they run", columns, rows)


def sensitivities(run: Run) -> Table | None:
    """What was measured at each width; None where bits were not chosen so."""
    measured = run.facts.sensitivities if run.facts else {}
    if not measured:
        return None
    widths = sorted({bits for found in measured.values() for bits in found})
    chosen = {plan.name: plan.bits for plan in run.facts.layers} if run.facts else {}
    most = max((value for found in measured.values() for value in found.values()), default=0)
    rows = [
        [
            name,
            *(
                Cell(f"{digits(found[b])}{' ✓' if chosen.get(name) == b else ''}", found[b] / most if most else None)
                if b in found
                else ""
                for b in widths
            ),
        ]
        for name, found in measured.items()
    ]
    columns = [("Layer", False), *((counted(bits, "bit"), True) for bits in widths)]
    return _table("Sensitivity by bits; ✓ marks the chosen ones", columns, rows)


def verification(run: Run) -> tuple[list[str], Table] | None:
    """Sentences on where the file and PyTorch part, and the outputs; None where they were not compared."""
    found = run.verified
    if found is None:
        return None
    rows = [
        [
            output.name, digits(output.largest), digits(output.mean), digits(output.reference),
            "" if output.agreement is None else percent(output.agreement, 2),
        ]
        for output in found.outputs
    ]  # fmt: skip
    names = ("Largest difference", "Mean difference", "Largest value of PyTorch's", "Same prediction")
    table = _table("Outputs of the file against PyTorch's", [("Output", False), *((n, True) for n in names)], rows)
    return _where_they_part(run), table


def _where_they_part(run: Run) -> list[str]:
    found = run.verified
    assert found is not None
    compared = f"Compared on {counted(found.samples, 'sample')} on {found.device}."
    largest = max((output.largest or 0) / max(output.reference or 0, 1e-6) for output in found.outputs or ())
    allowed = f"up to {digits(found.tolerance)} of the largest value is allowed"
    if not found.by_rounding and found.passed:
        return [compared, f"They agree: the largest difference is {digits(largest)} of the largest value; {allowed}."]
    lines = [compared, f"They part by {digits(largest)} of the largest value; {allowed}."]
    if found.by_rounding:
        lines.append(
            "This is rounding alone: given the file's own rounded inputs, every layer of PyTorch's agrees. An input "
            "that lies between two levels is rounded up by one and down by the other."
        )
        if found.joint_ranges:
            lines.append(f"OpenVINO rounds {listed(found.joint_ranges)} to the step of a range that they share.")
    elif found.first_layer is not None:
        lines.append(
            f"The first layer that differs is {found.first_layer.name}: by {digits(found.first_layer.largest)}, where "
            f"values go up to {digits(found.first_layer.reference)}."
        )
    else:
        lines.append("No single layer differs: the difference arises behind the last one, or where layers are fused.")
    return lines


def kept_layers(run: Run) -> list[tuple[str, str]]:
    """Layers whose weights were not searched, with the reason."""
    if run.facts is None:
        return []
    eight = [(name, "first or last layer, 8 bits") for name in run.facts.eight_bit_layers]
    return eight + [(name, reason or "full precision") for name, reason in run.facts.full_precision_layers.items()]


def facts(run: Run) -> list[tuple[str, str]]:
    """Name and value of what is known of the run: network, data, machine, versions."""
    rows = [("Folder" if run.path.is_dir() else "File", printable(run.path))]
    if run.inspection is not None:
        rows += [("Exported file", printable(run.inspection.path))] if run.path.is_dir() else []
        rows += [("Exported for", run.inspection.target_device)]
        rows += [("Compiled on", run.inspection.device)]
    if run.facts is not None:
        own = run.facts
        rows += [("Way", "training with labels" if own.way == "training" else "search without labels")]
        rows += [("Network", own.network), ("Data", own.data or ""), ("Started", own.started)]
        rows += [(name[0].upper() + name[1:], value) for name, value in own.machine.items()]
        rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in own.versions.items())))
    return [(name, value) for name, value in rows if value]


def config(run: Run) -> str:
    """The config as JSON, or nothing."""
    return json.dumps(run.facts.config, indent=2) if run.facts and run.facts.config else ""


def _network(run: Run, name: str) -> Network:
    return run.networks.get(name, Network(name=name))


def _unit(run: Run) -> str:
    return run.facts.score.unit if run.facts else ""


def _score_name(run: Run) -> str:
    name = run.facts.score.name if run.facts else "score"
    return name[0].upper() + name[1:]


def _part_title(run: Run, part: str) -> str:
    title = PART_TITLES[part]
    return f"{_score_name(run)}, {title}" if title else _score_name(run)


def _references(run: Run) -> dict[str, float]:
    """Validation scores of the networks beside the searched one, for lines in the chart."""
    found = {name: _network(run, name).scores.get("validation") for name in ("float", "nearest")}
    known = {name: value for name, value in found.items() if value is not None}
    if len(known) == 2 and abs(known["float"] - known["nearest"]) < 1e-9:
        return {"float and nearest": known["float"]}
    return known


def _times(full: float | None, ours: float | None) -> str:
    return digits(full / ours) if full and ours else ""


def _weights(layer: Layer) -> int | None:
    if layer.found is not None:
        return layer.found.weights
    return layer.plan.weights if layer.plan is not None else None


def _bits(layer: Layer) -> str:
    if layer.plan is not None:
        return str(layer.plan.bits)
    bits = layer.found.code_bits if layer.found is not None else None
    return "" if bits is None else str(bits)


def _mean_bits(run: Run) -> str:
    pairs = [(plan.bits, plan.weights) for plan in run.facts.layers] if run.facts else []
    if not pairs and run.inspection is not None:
        pairs = [(x.code_bits, x.weights) for x in run.inspection.layers if x.code_bits is not None]
    weights = sum(count for _, count in pairs)
    return f"{sum(bits * count for bits, count in pairs) / weights:.2f}" if weights else MISSING


def _flat(config: Any, path: str = "") -> dict[str, str]:
    """Settings by their paths, such as ``compression[0].weights.bits``."""
    if isinstance(config, dict) and config:
        return {k: v for name, inner in config.items() for k, v in _flat(inner, f"{path}.{name}".strip(".")).items()}
    if isinstance(config, list) and any(isinstance(inner, dict | list) for inner in config):
        return {k: v for index, inner in enumerate(config) for k, v in _flat(inner, f"{path}[{index}]").items()}
    return {path: json.dumps(config)}
