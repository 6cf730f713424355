"""What `inspect` tells of one layer, the same for every kind of file."""

from __future__ import annotations

import re
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
        code_bits: Bits of one code: 1 to 4 where it was searched, 8 in first and last layers; None without codes.
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
    code_bits: int | None

    @property
    def coded(self) -> bool:
        """Whether its weights are codes: searched, or rounded to 8 bits in a first or last layer."""
        return self.searched or self.code_bits is not None


def layer_table(layers: Sequence[LayerFacts]) -> str:
    """Table for the terminal, one row per layer; a star says that its weights were searched."""
    rows = [
        [
            f"{layer.name}{' *' if layer.searched else ''}", layer.stored, f"{layer.weights:,}", f"{layer.bytes:,}",
            f"{layer.effective_bits:.2f}", short_kernel(layer.kernel), layer.precision,
        ]
        for layer in layers
    ]  # fmt: skip
    header = ["layer", "stored", "weights", "bytes", "bits", "kernel", "runs in"]
    return "\n".join([terminal_table(header, rows, "llrrrll"), "*: its weights were searched"])


def short_kernel(kernel: str) -> str:
    """A kernel without the type of layer that the plugin puts in front of it."""
    return re.sub(r"^[A-Z]\w+ ", "", kernel)
