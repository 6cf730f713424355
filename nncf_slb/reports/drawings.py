"""Curves, heat map and chosen values of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nncf_slb.reports.charts import Curves, Series, bars, heat_row
from nncf_slb.reports.data import Run
from nncf_slb.reports.formatting import MISSING, counted, digits, exact, percent, score, shortened
from nncf_slb.reports.networks import network_of, score_name, unit_of
from nncf_slb.reports.scales import thinned
from nncf_slb.reports.tables import Table, make_table

_MOST_ROWS = 120
_FIELDS, _FEWEST_COLUMNS, _MOST_COLUMNS = 6000, 30, 150  # of a heat map, so that a page stays small
_SHARES = ("confidence", "changed")


def curves(runs: Sequence[Run]) -> list[Curves]:
    """Loss, score, 1/tau, confidence and changed choices of all runs."""
    along = " or ".join(dict.fromkeys(run.counter for run in runs if run.moments)) or "epoch"
    unit = next((unit_of(run) for run in runs if run.facts), "")
    of_score = next((score_name(run) for run in runs if run.facts), "Score")
    loss = "Loss" if any(run.counter == "epoch" for run in runs) else "Distance of the outputs"
    kinds = [
        ("loss", loss, ""), ("layer_loss", "Distance at the layers", ""),
        ("score", f"{of_score}, validation", unit), ("inverse_temperature", "1/tau", "logarithmic"),
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
    unit = unit_of(run)
    rows = [
        [
            f"{moment.count:,}", digits(moment.loss, 4), digits(moment.layer_loss, 4), score(moment.score, unit),
            digits(moment.inverse_temperature), percent(moment.confidence), percent(moment.changed, 2),
        ]
        for moment in (run.moments[index] for index in thinned(len(run.moments), _MOST_ROWS))
    ]  # fmt: skip
    loss = "Loss" if run.counter == "epoch" else "Distance of the outputs"
    names = (run.counter.capitalize(), loss, "Distance at the layers", f"{score_name(run)}, validation", "1/tau")
    columns = [(name, True) for name in (*names, "Confidence", "Changed choices")]
    return make_table(f"Numbers by {run.counter}", columns, rows)


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
            shown.append((layer.name, shortened(layer.name, 18), note, drawing))
    return shown


def _references(run: Run) -> dict[str, float]:
    """Validation scores of the networks beside the searched one, for lines in the chart."""
    found = {name: network_of(run, name).scores.get("validation") for name in ("float", "nearest")}
    known = {name: value for name, value in found.items() if value is not None}
    if len(known) == 2 and abs(known["float"] - known["nearest"]) < 1e-9:
        return {"float and nearest": known["float"]}
    return known
