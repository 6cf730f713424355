"""Layers and sensitivities of a run, its file against PyTorch, and how it was made."""

from __future__ import annotations

import json

from nncf_slb.errors import printable
from nncf_slb.reports.data import Layer, Run
from nncf_slb.reports.formatting import counted, digits, exact, listed, percent
from nncf_slb.reports.tables import Cell, Table, make_table


def layers(run: Run) -> Table:
    """Bits, bytes, kernel and precision of each layer."""
    columns = [
        ("Layer", False), ("Operation", False), ("Weights", True), ("Bits planned", True), ("Stored as", False),
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
    return make_table("Layers with weights, in the order in which they run", columns, rows)


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
    return make_table("Sensitivity by bits; ✓ marks the chosen ones", columns, rows)


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
    table = make_table("Outputs of the file against PyTorch's", [("Output", False), *((n, True) for n in names)], rows)
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


def _weights(layer: Layer) -> int | None:
    if layer.found is not None:
        return layer.found.weights
    return layer.plan.weights if layer.plan is not None else None


def _bits(layer: Layer) -> str:
    if layer.plan is not None:
        return str(layer.plan.bits)
    bits = layer.found.code_bits if layer.found is not None else None
    return "" if bits is None else str(bits)
