"""What looks wrong in a run or a file: what is seen, why that may be, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from nncf_slb.reports.data import Layer, Run
from nncf_slb.reports.formatting import counted, digits, exact, listed, percent, points, score
from nncf_slb.reports.networks import best_score, compared_part

UNDECIDED = 0.9  # mean confidence of a layer at the end
CHANGING = 0.02  # share of all choices that the last epoch has changed
ONE_VALUE = 0.95  # share of a layer's weights
LEFT_OUT = 0.1  # share of all weights
DROP = 1.0  # points of a score, or dB
WEAK_FLOAT = 5.0  # the same
_RISING = 1.5  # last loss in units of the lowest
_FLOAT_PRECISIONS = {"f32", "f16", "bf16"}
_STORED_BITS = {
    "u1": 1,
    "u2": 2,
    "u3": 3,
    "u4": 4,
    "i4": 4,
    "u6": 6,
    "u8": 8,
    "i8": 8,
    "f16": 16,
    "bf16": 16,
    "f32": 32,
}
Weight = Literal["problem", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that looks wrong.

    Attributes:
        name: Name of the kind, for links and tests.
        weight: ``problem``, or ``note`` where it may well be as intended.
        seen: What is seen, a sentence.
        cause: Why that may be.
        remedy: What to do.
    """

    name: str
    weight: Weight
    seen: str
    cause: str
    remedy: str


def findings(run: Run) -> list[Finding]:
    """Everything that looks wrong, problems first."""
    found = [finding for check in CHECKS for finding in check(run)]
    return sorted(found, key=lambda finding: finding.weight != "problem")


def _unreadable(run: Run) -> Iterator[Finding]:
    for problem in run.problems:
        yield Finding(
            "unreadable", "problem", f"{problem[0].upper()}{problem[1:]}.",
            "A run that was killed, or a copy that is not complete, leaves such files.",
            "Go on with the run, or copy its folder again. The report shows what is left.",
        )  # fmt: skip


def _not_ended(run: Run) -> Iterator[Finding]:
    if run.facts is None or run.ended:
        return
    done = run.moments[-1].count if run.moments else 0
    command = "--checkpoint and the same command" if run.counter == "step" else "--resume and its last.pth"
    yield Finding(
        "not_ended", "note", f"The run has not reached its end: {run.counter} {done} of {run.length}.",
        "It was interrupted, or it is still running. Numbers here are of the network as it was then.",
        f"Go on with {command}, then make the report again.",
    )  # fmt: skip


def _undecided(run: Run) -> Iterator[Finding]:
    if not run.moments or (run.facts is not None and not run.ended):
        return
    last = run.moments[-1]
    names = [n for n, x in last.layers.items() if x.confidence is not None and x.confidence < UNDECIDED]
    if names:
        worst = min(names, key=lambda name: last.layers[name].confidence or 0)
        tau = "" if last.inverse_temperature is None else f" 1/tau ended at {digits(last.inverse_temperature)}."
        yield Finding(
            "undecided", "problem",
            f"{counted(len(names), 'layer')} {'is' if len(names) == 1 else 'are'} undecided at the end: {listed(names)}"
            f". The mean confidence of {worst} is {percent(last.layers[worst].confidence)}.",
            f"The weights lie between two values, so choosing one moves the outputs.{tau} Its end may be too low, or "
            "training too short.",
            "Train longer, raise params.inverse_temperature_end, or give these layers more bits in weights.overrides.",
        )  # fmt: skip


def _changing(run: Run) -> Iterator[Finding]:
    last = run.moments[-1] if run.moments and run.ended else None
    if last is not None and last.changed is not None and last.changed > CHANGING:
        yield Finding(
            "changing", "note", f"{percent(last.changed)} of all choices still changed at the end.",
            "The learning rate did not fall far enough for the search to settle.",
            "Let the learning rate fall to 0 by the last epoch, or train longer.",
        )  # fmt: skip


def _zero_channels(run: Run) -> Iterator[Finding]:
    dead = [layer for layer in run.layers if layer.zero_channels]
    if dead:
        named = listed([f"{layer.name} ({counted(layer.zero_channels, 'channel')})" for layer in dead])
        yield Finding(
            "zero_channels", "problem", f"Output channels whose weights are all zero: {named}.",
            "Such a channel gives the same number for every input. Its float weights were zero or far smaller than "
            "those of its neighbours, its scale became zero, or weight decay was too strong.",
            "Look at these channels in the float network. Remove them, lower weight decay, or use values without a "
            'zero ("values": "uniform") and "scale": "per_channel".',
        )  # fmt: skip


def _one_value(run: Run) -> Iterator[Finding]:
    last = run.moments[-1].layers if run.moments else {}
    names = [name for name, layer in last.items() if layer.histogram and max(layer.histogram) > ONE_VALUE]
    if names:
        yield Finding(
            "one_value", "problem", f"Nearly all weights of {listed(names)} have the same value.",
            "A few weights are far larger than the others and set the scale, or the learning rate was too high.",
            'Use "scale": "per_channel", lower the learning rate, or give these layers more bits.',
        )  # fmt: skip


def _in_float(run: Run) -> Iterator[Finding]:
    layers = [layer for layer in run.layers if layer.found is not None and layer.found.coded]
    slow = [layer for layer in layers if _runs_in_float(layer)]
    any_quantized = any(layer.found is not None and layer.found.quantized_inputs for layer in run.layers)
    despite = [layer.name for layer in slow if layer.found is not None and layer.found.quantized_inputs]
    without = [layer.name for layer in slow if layer.name not in despite]
    if despite:
        yield Finding(
            "in_float", "problem", f"{listed(despite)}: computed in float although the inputs are rounded.",
            "The plugin has no integer kernel for this operation on this device, or an operation in front of it keeps "
            "the rounding from being folded in.",
            "See the kernel in the table of layers, and which forms run as integers in docs/openvino.md.",
        )  # fmt: skip
    if without and any_quantized:
        yield Finding(
            "in_float", "problem", f"{listed(without)}: computed in float, while other layers run in 8 bits.",
            "The inputs of these layers are not rounded: a scope leaves them out, or an operation that keeps no "
            "rounding stands in front of them.",
            'Let "activations" (or the quantization beside the search) reach these layers.',
        )  # fmt: skip
    elif without:
        yield Finding(
            "float_kernels", "note", "All searched layers compute in float, so the file is small, but not faster.",
            "Their inputs keep 32 bits.", 'Add "activations": {"bits": 8} to compute in integers.',
        )  # fmt: skip


def _runs_in_float(layer: Layer) -> bool:
    return layer.found is not None and layer.found.precision.lower() in _FLOAT_PRECISIONS


def _too_large(run: Run) -> Iterator[Finding]:
    budget = run.facts.budget_bytes if run.facts else None
    file = run.inspection
    if file is not None and budget is not None and file.bin_bytes > budget:
        yield Finding(
            "too_large", "problem",
            f"The .bin file takes {exact(file.bin_bytes)} bytes, {exact(file.bin_bytes - budget)} more than the budget "
            f"of {exact(budget)}.",
            f"The budget is for a CPU file; this one is for {file.target_device}. Or the file is of another run.",
            "Export for the CPU, or set a smaller weights.budget.bytes and search again.",
        )  # fmt: skip
    wide = [layer for layer in run.layers if _is_wide(layer)]
    if file is not None and wide:
        named = [f"{x.name} ({_planned(x)} → {x.found.stored})" for x in wide if x.found is not None]
        cause = (
            f"Files for {file.target_device} store every code in 4 or 8 bits, which all of its plugins read."
            if file.target_device != "CPU"
            else "These layers take a form whose codes are not packed: the network computes something from the weight "
            "first, or uses it in an operation that reads no packed weight."
        )
        yield Finding(
            "wider_than_planned", "problem", f"Weights that take more bits in the file than planned: {listed(named)}.",
            cause, "Export with target_device CPU where that is allowed, or see the forms in docs/openvino.md.",
        )  # fmt: skip


def _planned(layer: Layer) -> int | None:
    if layer.plan is not None:
        return layer.plan.bits
    return layer.found.code_bits if layer.found is not None else None


def _is_wide(layer: Layer) -> bool:
    planned = _planned(layer)
    if layer.found is None or planned is None:
        return False
    return _STORED_BITS.get(layer.found.stored, 0) > (4 if planned == 3 else planned)


def _another_file(run: Run) -> Iterator[Finding]:
    if run.inspection is None or run.facts is None or not run.facts.layers:
        return
    plans = {plan.name: plan for plan in run.facts.layers}
    found = {x.name: x for x in run.inspection.layers if x.code_bits is not None}
    other = [
        name for name, layer in found.items()
        if name in plans and (layer.code_bits, layer.weights) != (plans[name].bits, plans[name].weights)
    ]  # fmt: skip
    if other or not found.keys() & plans.keys():
        which = listed(other) if other else "no layer has the name of one of the run"
        yield Finding(
            "another_file", "problem", f"The file is not of this run: {which}.",
            "It was exported from an earlier run in the same folder.", "Export again from the run's best checkpoint.",
        )  # fmt: skip


def _apart(run: Run) -> Iterator[Finding]:
    if run.verified is not None and not run.verified.passed:
        first = run.verified.first_layer
        where = "" if first is None else f" The first layer that differs is {first.name}."
        yield Finding(
            "apart", "problem", f"The file and PyTorch give different outputs.{where}",
            "An operation of the network that the converter or the plugin computes in another way.",
            'Run nncf-slb verify with your own data, and see "Faults of the CPU plugin" in docs/openvino.md.',
        )  # fmt: skip


def _scores(run: Run) -> Iterator[Finding]:
    part = compared_part(run)
    if part is None or run.facts is None:
        return
    ours, unit = best_score(run, part), run.facts.score.unit
    full, nearest = (run.networks[n].scores.get(part) if n in run.networks else None for n in ("float", "nearest"))
    if ours is not None and nearest is not None and ours < nearest:
        yield Finding(
            "below_nearest", "problem" if nearest - ours > DROP else "note",
            f"The search lost to plain rounding: {score(ours, unit)} against {score(nearest, unit)}.",
            "Training has moved the network away from where it began: the learning rate was too high, or the training "
            "too short.",
            "Lower the learning rate, or train longer. With few test samples, one sample may be the difference.",
        )  # fmt: skip
    if ours is not None and full is not None and full - ours > DROP:
        yield Finding(
            "drop", "note",
            f"The {run.facts.score.name} is {digits(full - ours)} {points(unit)} below the float network's.",
            "The network is narrow for so few bits, or training was short.",
            "Train longer, or give the layers with the highest sensitivity more bits.",
        )  # fmt: skip
    if ours is not None and full is not None and ours - full > WEAK_FLOAT:
        yield Finding(
            "weak_float", "note",
            f"The float network is {digits(ours - full)} {points(unit)} worse than the low-bit one, so little can be "
            "said of what the bits cost.",
            "It was trained too short, or in a network of another kind, such as one with another activation.",
            "Train the float network in the same architecture, and begin the search from it.",
        )  # fmt: skip


def _loss(run: Run) -> Iterator[Finding]:
    losses = [moment.loss for moment in run.moments]
    gaps = [str(moment.count) for moment in run.moments if moment.loss is None]
    known = [loss for loss in losses if loss is not None]
    if gaps:
        yield Finding(
            "no_loss", "problem", f"The loss is no finite number at {run.counter} {listed(gaps)}.",
            "The learning rate was too high, or the data holds such numbers.",
            "Lower the learning rate, and look for NaN and infinity in the data.",
        )  # fmt: skip
    if run.counter == "epoch" and len(known) > 2 and known[-1] > _RISING * min(known) and known[-1] > known[-2]:
        yield Finding(
            "rising_loss", "note", f"The loss rose to {digits(known[-1])} after {digits(min(known))}.",
            "1/tau rose faster than the weights could follow, or the learning rate is too high.",
            "Lower the learning rate, or give 1/tau more epochs (params.end_fraction).",
        )  # fmt: skip


def _left_out(run: Run) -> Iterator[Finding]:
    if run.facts is not None and run.facts.left_out_share > LEFT_OUT:
        yield Finding(
            "left_out", "note", f"{percent(run.facts.left_out_share)} of all weights could not be searched.",
            "Their layers are of kinds that are not searched, or share weights with such layers.",
            "The table of layers names them with the reason; docs/networks.md says what can be done.",
        )  # fmt: skip


CHECKS: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    _unreadable, _not_ended, _loss, _undecided, _changing, _zero_channels, _one_value, _in_float, _too_large,
    _another_file, _apart, _scores, _left_out,
)  # fmt: skip
