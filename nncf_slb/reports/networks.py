"""Float, nearest, searched and exported network side by side, and what was lost and gained, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from nncf_slb.reports.data import Run
from nncf_slb.reports.formatting import counted, digits, exact, points, score
from nncf_slb.reports.lines import Network

NAMES = ("float", "nearest", "searched", "IR")
TITLES = {
    "float": "Float network", "nearest": "Nearest values, no search", "searched": "Searched, in PyTorch",
    "IR": "Searched, as OpenVINO file",
}  # fmt: skip
_PARTS = ("test", "own", "validation")
PART_TITLES = {"test": "test", "own": "", "validation": "validation"}
_OURS = ("IR", "searched")
_SAME_SPEED = 0.03
EQUAL_SCORE = 0.005


@dataclass(frozen=True)
class Gain:
    """The three figures of a run; None where one is not known.

    Attributes:
        part: Part of the data that the scores are of.
        full: Score of the float network.
        ours: Score of the low-bit network.
        smaller: How many times smaller the file is than the float network's.
        faster: How many times as fast it is.
    """

    part: str | None
    full: float | None
    ours: float | None
    smaller: float | None
    faster: float | None


def network_of(run: Run, name: str) -> Network:
    """A network that was measured, or one of which nothing is known."""
    return run.networks.get(name, Network(name=name))


def unit_of(run: Run) -> str:
    """Unit of the run's score."""
    return run.facts.score.unit if run.facts else ""


def score_name(run: Run) -> str:
    """Name of the run's score, at the beginning of a line."""
    name = run.facts.score.name if run.facts else "score"
    return name[0].upper() + name[1:]


def compared_part(run: Run) -> str | None:
    """Part of the data on which most networks were measured, the test part first."""
    parts = [p for p in _PARTS if any(n.scores.get(p) is not None for n in run.networks.values())]
    with_float = [p for p in parts if "float" in run.networks and run.networks["float"].scores.get(p) is not None]
    both = [p for p in with_float if best_score(run, p) is not None]
    return next(iter([*both, *parts]), None)


def best_score(run: Run, part: str) -> float | None:
    """Score of the file, or else of the searched network."""
    scores = (run.networks[name].scores.get(part) for name in _OURS if name in run.networks)
    return next((value for value in scores if value is not None), None)


def gain(run: Run) -> Gain:
    """What was lost and gained."""
    full = run.networks.get("float", Network(name="float"))
    ours = run.networks.get("IR", run.networks.get("searched", Network(name="searched")))
    part = compared_part(run)
    smaller = full.bytes / ours.bytes if full.bytes and ours.bytes else None
    faster = full.milliseconds / ours.milliseconds if full.milliseconds and ours.milliseconds else None
    return Gain(part, full.scores.get(part) if part else None, best_score(run, part) if part else None, smaller, faster)


def sentence(run: Run) -> str:
    """What was lost and gained."""
    found, unit, what = gain(run), *_score_words(run)
    parts = []
    full, ours = run.networks.get("float"), run.networks.get("IR") or run.networks.get("searched")
    if found.smaller is not None and full is not None and ours is not None:
        parts.append(
            f"{_bits(run)} make the weights {digits(found.smaller)} times smaller "
            f"({exact(full.bytes)} → {exact(ours.bytes)} bytes)"
        )
    if found.ours is not None and found.part is not None:
        on = {"test": " on the test data", "validation": " on the validation data"}.get(found.part, "")
        text = f"{what} is {score(found.ours, unit)}{on}"
        parts.append(text if found.full is None else f"{text}, {against_float(found.ours - found.full, unit)}")
    elif ours is not None and ours.agreement is not None:
        parts.append(f"the answers agree with the float network's to {score(ours.agreement, ours.unit or '%')}")
    if found.faster is not None and full is not None and ours is not None:
        parts.append(
            f"one inference takes {digits(ours.milliseconds)} ms, {speed(found.faster)} with "
            f"{digits(full.milliseconds)} ms"
        )
    if not parts:
        return _so_far(run, what, unit)
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _so_far(run: Run, what: str, unit: str) -> str:
    last = run.moments[-1] if run.moments else None
    place = f"{run.counter} {last.count if last else 0:,} of {run.length:,}"
    known = (
        "" if last is None or last.score is None else f"; {what} is {score(last.score, unit)} on the validation data"
    )
    return f"The low-bit network has not been measured yet. The run is at {place}{known}."


def _score_words(run: Run) -> tuple[str, str]:
    if run.facts is None:
        return "", "the score"
    name = run.facts.score.name
    return run.facts.score.unit, "the score" if name == "score" else name


def _bits(run: Run) -> str:
    """Bits of the searched weights, such as ``2-bit weights in 5 layers``."""
    if run.facts is not None and run.facts.layers:
        bits = sorted({plan.bits for plan in run.facts.layers})
        count = len(run.facts.layers)
    else:
        layers = run.inspection.layers if run.inspection else ()
        bits = sorted({layer.code_bits for layer in layers if layer.code_bits is not None})
        count = sum(layer.code_bits is not None for layer in layers)
    if not bits:
        return "Other forms"
    width = str(bits[0]) if len(bits) == 1 else f"{bits[0]}- to {bits[-1]}"
    return f"{width}-bit weights in {counted(count, 'layer')}"


def against_float(difference: float, unit: str) -> str:
    """How a score compares with the float network's."""
    if abs(difference) < EQUAL_SCORE:
        return "the same as the float network's"
    amount = f"{abs(difference):.2f} {points(unit)}".strip()
    return f"{amount} {'above' if difference > 0 else 'below'} the float network's"


def speed(times: float) -> str:
    """How a latency compares with the float network's."""
    if abs(times - 1) <= _SAME_SPEED:
        return "as fast as the float network"
    return f"{digits(times)} times as fast as the float network" if times > 1 else (
        f"{digits(1 / times)} times as slow as the float network"
    )  # fmt: skip
