"""Outputs of an exported file beside those of the stripped PyTorch model; the same for every kind of file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nncf_slb.errors import DataError
from nncf_slb.openvino.layer_comparison import EXACT
from nncf_slb.openvino.sample_data import Array
from nncf_slb.tables import terminal_table

EXACT_TOLERANCE = EXACT
QUANTIZED_TOLERANCE = 0.05
_ROUNDING_FACTOR = 4


@dataclass(frozen=True)
class OutputDifference:
    """How one output of the IR differs from PyTorch's.

    Attributes:
        name: Name of the output, or its index.
        largest: Largest absolute difference.
        mean: Mean absolute difference.
        reference: Largest absolute value of PyTorch's output.
        agreement: Share of predictions (index of the largest value along dimension 1) that are equal, 0 to 1; None
            for outputs without classes, that is with one dimension or one channel.
    """

    name: str
    largest: float
    mean: float
    reference: float
    agreement: float | None

    @property
    def relative(self) -> float:
        """Largest difference in units of PyTorch's largest value; outputs below a millionth count as zero."""
        return self.largest / max(self.reference, 1e-6)


def difference_table(outputs: Sequence[OutputDifference]) -> str:
    """Table for the terminal, one row per output."""
    rows = [
        [
            output.name, f"{output.largest:.3g}", f"{output.mean:.3g}", f"{output.reference:.3g}",
            f"{output.relative:.3g}", "" if output.agreement is None else f"{output.agreement:.2%}",
        ]
        for output in outputs
    ]  # fmt: skip
    header = ["output", "largest difference", "mean", "largest value", "relative", "same prediction"]
    return terminal_table(header, rows, "lrrrrr")


def output_difference(name: str, ours: Array, reference: Array) -> OutputDifference:
    """How two outputs of one shape differ.

    Args:
        name: Name of the output.
        ours: The file's.
        reference: PyTorch's.
    """
    apart = np.abs(ours.astype(np.float64) - reference)
    agreement = None
    if reference.ndim > 1 and reference.shape[1] > 1:
        agreement = float((ours.argmax(1) == reference.argmax(1)).mean())
    largest = float(apart.max()) if np.isfinite(apart).all() else float("inf")
    return OutputDifference(name, largest, float(apart.mean()), float(np.abs(reference).max()), agreement)


def moved_as_far(ours: Sequence[Array], reference: Sequence[Array], moved: Sequence[float]) -> bool:
    """Whether outputs differ about as far, in the mean, as PyTorch's move where its quantizers are disturbed.

    Args:
        ours: The file's outputs.
        reference: PyTorch's.
        moved: Mean absolute movement of each.
    """
    apart = [float(np.abs(a - b).mean()) for a, b in zip(ours, reference, strict=True)]
    exact = [EXACT_TOLERANCE * float(np.abs(array).max()) for array in reference]
    return all(a <= max(_ROUNDING_FACTOR * m, e) for a, m, e in zip(apart, moved, exact, strict=True))


def refuse_without_samples(outputs: Sequence[Tensor], batch: int) -> None:
    """Refuse a network whose outputs do not count samples along their first dimension.

    Raises:
        DataError: Naming each such output.
    """
    wrong = [f"output {k}, {list(array.shape)}" for k, array in enumerate(outputs) if array.shape[:1] != (batch,)]
    if wrong:
        raise DataError(
            f"model: a batch of {batch} gives {'; '.join(wrong)}; allowed are outputs whose first dimension counts "
            "samples, such as logits but no loss. Export a network that returns only such outputs"
        )


def chunks(inputs: Sequence[Array], batch: int) -> Iterator[tuple[list[Array], int]]:
    """Batches of one size, the last one filled up with its own last sample, and the samples of each that count."""
    for start in range(0, len(inputs[0]), batch):
        chunk = [array[start : start + batch] for array in inputs]
        count = len(chunk[0])
        yield [np.concatenate([array, np.repeat(array[-1:], batch - count, axis=0)]) for array in chunk], count
