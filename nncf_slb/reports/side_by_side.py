"""Networks of a run side by side, and runs beside each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nncf_slb.reports.data import Run
from nncf_slb.reports.formatting import MISSING, digits, exact, percent, score, size
from nncf_slb.reports.networks import (
    EQUAL_SCORE,
    NAMES,
    PART_TITLES,
    TITLES,
    against_float,
    gain,
    network_of,
    score_name,
    speed,
    unit_of,
)
from nncf_slb.reports.tables import Cell, Table, make_table


@dataclass(frozen=True)
class Card:
    """One of the large figures: its name, the figure, and a line on what it is compared with."""

    name: str
    figure: str
    below: str


def cards(run: Run) -> list[Card]:
    """Score, size and latency."""
    found, unit = gain(run), unit_of(run)
    full, ours = network_of(run, "float"), network_of(run, "IR")
    shown = []
    if found.ours is not None:
        below = "not compared with a float network"
        if found.full is not None:
            below = against_float(found.ours - found.full, unit)
            if abs(found.ours - found.full) >= EQUAL_SCORE:
                below += f", {score(found.full, unit)}"
        part = PART_TITLES.get(found.part or "", "")
        shown.append(Card(f"{score_name(run)}{', ' + part if part else ''}", score(found.ours, unit), below))
    elif run.moments and run.moments[-1].score is not None:
        last = run.moments[-1]
        below = f"at {run.counter} {last.count:,} of {run.length:,}"
        shown.append(Card(f"{score_name(run)}, validation", score(last.score, unit), below))
    if found.ours is None and ours.agreement is not None:
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
    unit = unit_of(run)
    found = [run.networks[name] for name in NAMES if name in run.networks]
    largest = max((network.bytes or 0 for network in found), default=0)
    slowest = max((network.milliseconds or 0 for network in found), default=0)
    full = network_of(run, "float")
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
    return make_table("The networks side by side", columns, rows)


def runs_beside(runs: Sequence[Run]) -> Table:
    """What runs have and have not in common: a row for each figure, and for each setting that differs."""
    figures: list[tuple[str, Callable[[Run], str]]] = [
        ("Network", lambda run: run.facts.network if run.facts else MISSING),
        ("Mean bits of searched weights", _mean_bits),
        ("Score of the low-bit network", lambda run: score(gain(run).ours, unit_of(run))),
        ("Score of the float network", lambda run: score(gain(run).full, unit_of(run))),
        ("Bytes of the file", lambda run: exact(network_of(run, "IR").bytes)),
        ("Times smaller than float", lambda run: digits(gain(run).smaller)),
        ("Latency, ms", lambda run: digits(network_of(run, "IR").milliseconds)),
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
    return make_table("The runs beside each other", columns, rows)


def _part_title(run: Run, part: str) -> str:
    title = PART_TITLES[part]
    return f"{score_name(run)}, {title}" if title else score_name(run)


def _times(full: float | None, ours: float | None) -> str:
    return digits(full / ours) if full and ours else ""


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
