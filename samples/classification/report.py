"""What a searched network is worth: accuracy, bytes and latency beside the float network's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from rich.table import Table
from torch import Tensor

from nncf_slb import benchmark_openvino
from nncf_slb.files import new_file
from nncf_slb.tables import markdown_table
from samples.training.progress import console, track


@dataclass(frozen=True)
class Row:
    """One line of the table; None where there is nothing to say."""

    network: str
    top1: float
    bytes: int | None = None
    milliseconds: float | None = None


class Ir:
    """A compiled IR file.

    Args:
        path: ``.xml`` file.
        batch: Batch size to compile for.
    """

    def __init__(self, path: Path, batch: int) -> None:
        self.path = path
        model = ov.Core().read_model(path)
        self.shape = [batch, *[int(d.get_length()) for d in list(model.inputs[0].partial_shape)[1:]]]
        model.reshape(self.shape)
        self._compiled = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._request = self._compiled.create_infer_request()

    @property
    def bytes(self) -> int:
        """Size of the ``.bin`` file."""
        return self.path.with_suffix(".bin").stat().st_size

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Logits of a full batch."""
        return np.array(self._request.infer([images])[0])


def predict_with_ir(path: Path, batches: object, count: int) -> Tensor:
    """Logits of all test images as OpenVINO computes them, `count` batches."""
    compiled: dict[int, Ir] = {}
    logits = []
    for images, _ in track(batches, count, f"{path.stem} in OpenVINO"):  # type: ignore[arg-type]
        ir = compiled.setdefault(len(images), Ir(path, len(images)))
        logits.append(torch.from_numpy(ir(images.numpy())))
    return torch.cat(logits)


def median_latencies(paths: list[Path]) -> list[float]:
    """Median milliseconds of one image for each IR, measured in turns, floating point in float32."""
    compared = benchmark_openvino(paths, rounds=200, properties={"INFERENCE_PRECISION_HINT": "f32"})
    return [timing.latency.median for timing in compared.timings]


def differing_classes(ours: Tensor, reference: Tensor, tie: float = 1e-4) -> int:
    """Images whose predicted class differs although the reference's two best logits are more than `tie` apart."""
    differs = ours.argmax(1) != reference.argmax(1)
    best = reference.topk(2, dim=1).values
    return int((differs & (best[:, 0] - best[:, 1] > tie)).sum())


def show(title: str, rows: list[Row], notes: list[str], file: Path) -> None:
    """Print the table and write it as Markdown."""
    table = Table(title=title, title_justify="left")
    header = ["network", "top-1 %", ".bin bytes", "ms / image"]
    for name in header:
        table.add_column(name, justify="left" if name == "network" else "right", no_wrap=True)
    lines: list[list[str]] = []
    for row in rows:
        cells = [
            row.network, f"{row.top1:.2f}", f"{row.bytes:,}" if row.bytes is not None else "",
            f"{row.milliseconds:.3f}" if row.milliseconds is not None else "",
        ]  # fmt: skip
        table.add_row(*cells)
        lines.append(cells)
    console.print(table)
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True, markup=False)
    with new_file(file) as partial:
        partial.write_text("\n".join([f"{title}\n", markdown_table(header, lines, "lrrr"), "", *notes, ""]))
