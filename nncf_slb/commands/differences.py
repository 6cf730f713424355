"""Two files, layer by layer."""

from __future__ import annotations

import dataclasses
import filecmp
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from nncf_slb.errors import printable
from nncf_slb.tables import terminal_table

_COLUMNS = ("bits", "stored", "bytes", "kernel")
Change = Literal["same", "changed", "only in a", "only in b"]


@dataclass(frozen=True)
class LayerOfFile:
    """What one file says of a layer.

    Attributes:
        bits: Bits of one code; None without codes.
        stored: Element type of the weights in the file; None of packed checkpoints, which have one type.
        weights: Number of weights.
        bytes: Bytes of the weights in the file.
        kernel: Kernel that runs it; None where nothing runs.
        precision: Precision that it runs in; None likewise.
    """

    bits: int | None
    stored: str | None
    weights: int
    bytes: int
    kernel: str | None
    precision: str | None


@dataclass(frozen=True)
class LayerDifference:
    """A layer in both files, or in one of them.

    Attributes:
        name: Path in the torch model.
        change: ``same``, ``changed``, ``only in a`` or ``only in b``.
        fields: Names of what differs.
        a: What the first file says; None if it has no such layer.
        b: What the second one says.
    """

    name: str
    change: Change
    fields: tuple[str, ...]
    a: LayerOfFile | None
    b: LayerOfFile | None


class Differences:
    """How two inspected files differ; any two kinds of `nncf-slb inspect`.

    Args:
        a: Inspection of the first file.
        b: Inspection of the second file.
    """

    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b
        first, second = dict(_layers(a)), dict(_layers(b))
        names = [*first, *(name for name in second if name not in first)]
        self.layers = tuple(_difference(name, first.get(name), second.get(name)) for name in names)

    @property
    def same_bytes(self) -> bool:
        """Whether the files that hold the weights are equal, byte for byte; layers alike in all numbers may not be."""
        return filecmp.cmp(_weights_file(self.a), _weights_file(self.b), shallow=False)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: both inspections, and the layers side by side."""
        return {
            "files": [self.a.to_dict(), self.b.to_dict()],
            "same_bytes": self.same_bytes,
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
        }

    def to_str(self) -> str:
        """Table for the terminal: a row for each layer, with what differs as ``a -> b``."""
        rows = [[layer.name, layer.change, *(_both(layer, field) for field in _COLUMNS)] for layer in self.layers]
        counts = {change: sum(layer.change == change for layer in self.layers) for change in get_args(Change)}
        sizes = [_size(each) for each in (self.a, self.b)]
        return "\n".join(
            [
                f"a: {printable(self.a.path)}, {sizes[0]:,} bytes",
                f"b: {printable(self.b.path)}, {sizes[1]:,} bytes ({sizes[1] - sizes[0]:+,})",
                terminal_table(["layer", "change", *_COLUMNS], rows, "ll" + "l" * len(_COLUMNS)),
                ", ".join(f"{count} {change}" for change, count in counts.items() if count) or "no layers",
                f"weights, scales and biases are {'the same' if self.same_bytes else 'not the same'}, byte for byte",
            ]
        )


def _weights_file(inspection: Any) -> Path:
    path = Path(inspection.path)
    return path.with_suffix(".bin") if path.suffix == ".xml" else path


def _size(inspection: Any) -> int:
    return int(getattr(inspection, "bin_bytes", 0) or getattr(inspection, "file_bytes", 0))


def _layers(inspection: Any) -> Iterator[tuple[str, LayerOfFile]]:
    """Layers by name; a name that comes again gets a number."""
    seen: dict[str, int] = {}
    for layer in getattr(inspection, "layers", None) or inspection.weights:
        name = layer.name.removesuffix(".weight")
        seen[name] = seen.get(name, 0) + 1
        bits = layer.code_bits if hasattr(layer, "code_bits") else layer.bits
        yield name if seen[name] == 1 else f"{name} ({seen[name]})", LayerOfFile(
            bits, getattr(layer, "stored", None), layer.weights, layer.bytes, getattr(layer, "kernel", None),
            getattr(layer, "precision", None),
        )  # fmt: skip


def _difference(name: str, a: LayerOfFile | None, b: LayerOfFile | None) -> LayerDifference:
    if a is None or b is None:
        return LayerDifference(name, "only in b" if a is None else "only in a", (), a, b)
    fields = tuple(
        field.name for field in dataclasses.fields(LayerOfFile) if getattr(a, field.name) != getattr(b, field.name)
    )
    return LayerDifference(name, "changed" if fields else "same", fields, a, b)


def _both(layer: LayerDifference, field: str) -> str:
    """``2 -> 3`` where the files differ, else the one value; kernels without the type of layer in front of them."""
    values = [_shown(getattr(side, field)) if side else "" for side in (layer.a, layer.b)]
    return values[0] if values[0] == values[1] else " -> ".join(value or "-" for value in values)


def _shown(value: int | str | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else re.sub(r"^[A-Z]\w+ ", "", value)
