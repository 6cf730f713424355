"""What a packed checkpoint holds, weight by weight."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncf_slb.search.packed_file import PackedFile, read_packed
from nncf_slb.tables import terminal_table


@dataclass(frozen=True)
class PackedWeightInspection:
    """One coded weight.

    Attributes:
        name: Parameter that it stands for.
        bits: Bits of one code.
        values: Number of values that a weight can take.
        weights: Number of weights.
        bytes: Bytes of its codes, scale and values in the file; 0 where another weight has the same.
        effective_bits: ``8 * bytes / weights``.
        inputs: Bits of the layer's inputs; 32 where they are not quantized.
    """

    name: str
    bits: int
    values: int
    weights: int
    bytes: int
    effective_bits: float
    inputs: int


@dataclass(frozen=True)
class PackedInspection:
    """A whole packed checkpoint.

    Attributes:
        path: The file.
        file_bytes: Its size.
        float_bytes: Bytes of all tensors with the coded weights in float32.
        other_bytes: Bytes of the tensors that are no part of a coded weight.
        weights: Coded weights, in the order of the network.
    """

    path: str
    file_bytes: int
    float_bytes: int
    other_bytes: int
    weights: tuple[PackedWeightInspection, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return dataclasses.asdict(self)

    def to_str(self) -> str:
        """Table for the terminal."""
        rows = [
            [
                each.name, each.bits, each.values, f"{each.weights:,}", f"{each.bytes:,}", f"{each.effective_bits:.2f}",
                each.inputs,
            ]
            for each in self.weights
        ]  # fmt: skip
        header = ["weight", "bits", "values", "weights", "bytes", "effective bits", "input bits"]
        return "\n".join(
            [
                f"{self.path}: packed checkpoint",
                terminal_table(header, rows, "lrrrrrr"),
                f"{self.file_bytes:,} bytes, {self.other_bytes:,} of them for tensors in full precision; with float32 "
                f"weights {self.float_bytes:,}: {self.float_bytes / self.file_bytes:.1f} times as many",
            ]
        )


def inspect_packed(path: str | Path) -> PackedInspection:
    """Tell what a packed checkpoint holds.

    Args:
        path: File that `nncf_slb.save_packed` wrote.

    Raises:
        nncf_slb.search.packed_file.CheckpointError: If the file cannot be used.
    """
    file = read_packed(path)
    weights = tuple(_inspection(file, name) for name in file.weights)
    total = sum(tensor.nbytes for tensor in file.tensors.values())
    others = total - sum(weight.bytes for weight in weights)
    as_float = others + sum(4 * weight.weights for weight in weights if weight.bytes)
    return PackedInspection(str(path), Path(path).stat().st_size, as_float, others, weights)


def _inspection(file: PackedFile, name: str) -> PackedWeightInspection:
    weight = file.weights[name]
    held = [file.tensors.get(f"{name}.{part}") for part in ("codes", "scale", "values")]
    used = 0 if held[0] is None else sum(tensor.nbytes for tensor in held if tensor is not None)
    count = math.prod(weight.shape)
    quantizer = file.quantizers.get(name.rpartition(".")[0])
    return PackedWeightInspection(
        name, weight.bits, len(file.tensor(f"{name}.values")), count, used, 8 * used / max(1, count),
        32 if quantizer is None else quantizer.bits,
    )  # fmt: skip
