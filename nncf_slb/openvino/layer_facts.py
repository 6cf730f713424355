"""What `inspect` tells of one layer, the same for every kind of file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nncf_slb.tables import terminal_table


@dataclass(frozen=True)
class LayerFacts:
    """One layer with weights.

    Attributes:
        name: Path in the torch model.
        op: Operation in the file.
        searched: Whether its weights were searched.
        stored: How its weights are stored: the element type in an IR; ``planes`` and their number, ``uint2``,
            ``uint4``, ``int8`` or ``float32`` in ONNX.
        weights: Number of weights.
        bytes: Bytes of the weights in the file, with scales, zero points and tables.
        effective_bits: ``8 * bytes / weights``.
        kernel: What runs on this machine: the plugin's kernel, or the operator in the graph as ONNX Runtime has
            rewritten it.
        precision: Precision that it runs in.
    """

    name: str
    op: str
    searched: bool
    stored: str
    weights: int
    bytes: int
    effective_bits: float
    kernel: str
    precision: str


def layer_table(layers: Sequence[LayerFacts]) -> str:
    """Table for the terminal, one row per layer."""
    rows = [
        [
            layer.name, layer.op, "yes" if layer.searched else "no", layer.stored, f"{layer.weights:,}",
            f"{layer.bytes:,}", f"{layer.effective_bits:.2f}", layer.kernel, layer.precision,
        ]
        for layer in layers
    ]  # fmt: skip
    header = ["layer", "op", "searched", "stored", "weights", "bytes", "bits", "kernel", "precision"]
    return terminal_table(header, rows, "llllrrrll")
