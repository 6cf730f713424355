"""What searched networks are worth: PSNR and SSIM of each image, bytes and latency, beside bicubic and float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import openvino as ov
from rich.table import Table

from nncf_slb import benchmark_openvino
from nncf_slb.files import new_file
from samples.super_resolution.metrics import quality
from samples.super_resolution.pairs import Pair, enlarged, to_values
from samples.training.progress import console

Quality = tuple[float, float]  # PSNR in dB, SSIM


@dataclass(frozen=True)
class Row:
    """One way to enlarge.

    Attributes:
        network: Name in the table.
        qualities: PSNR and SSIM by the name of the image.
        bytes: Size of the ``.bin``; None without a file.
        milliseconds: Latency; None where there is none.
        throughput: Images a second; None where there is none.
    """

    network: str
    qualities: dict[str, Quality]
    bytes: int | None = None
    milliseconds: float | None = None
    throughput: float | None = None

    @property
    def mean(self) -> Quality:
        """Mean PSNR and SSIM."""
        psnr, ssim = zip(*self.qualities.values(), strict=True)
        return float(np.mean(psnr)), float(np.mean(ssim))


@dataclass
class Report:
    """A table, with notes below.

    Attributes:
        title: What was measured.
        rows: Ways to enlarge.
        notes: Lines of text.
    """

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of text: PSNR / SSIM of each image and on average, bytes, speed."""
        images = list(self.rows[0].qualities)
        timed = any(row.milliseconds is not None for row in self.rows)
        header = ["network", "PSNR / SSIM, mean", *images, ".bin bytes", *(["ms", "images/s"] if timed else [])]
        lines = []
        for row in self.rows:
            size = "" if row.bytes is None else f"{row.bytes:,}"
            speed = ["" if each is None else f"{each:.2f}" for each in (row.milliseconds, row.throughput)]
            qualities = [row.mean, *(row.qualities[image] for image in images)]
            shown = [f"{psnr:.2f} / {ssim:.4f}" for psnr, ssim in qualities]
            lines.append([row.network, *shown, size, *(speed if timed else [])])
        return header, lines

    def markdown(self) -> str:
        """The table as Markdown."""
        header, lines = self.cells()
        table = [f"| {' | '.join(header)} |", "|---" + "|---:" * (len(header) - 1) + "|"]
        return "\n".join([*table, *(f"| {' | '.join(cells)} |" for cells in lines)])

    def show(self, file: Path) -> None:
        """Print the table with means alone, which fits a terminal, and write all of it."""
        header, lines = self.cells()
        images = len(self.rows[0].qualities)
        table = Table(title=self.title, title_justify="left")
        for name in (*header[:2], *header[2 + images :]):
            table.add_column(name, justify="left" if name == "network" else "right")
        for cells in lines:
            table.add_row(*cells[:2], *cells[2 + images :])
        console.print(table)
        for note in self.notes:
            console.print(note, highlight=False, soft_wrap=True, markup=False)
        with new_file(file) as partial:
            partial.write_text("\n".join([f"{self.title}\n", self.markdown(), "", *self.notes, ""]))


def bicubic(pairs: Sequence[Pair], scale: int) -> Row:
    """The images enlarged without a network."""
    ours = {pair.name: to_values(enlarged(pair.low, scale)) for pair in pairs}
    return Row("bicubic", {p.name: quality(ours[p.name], to_values(p.high), scale) for p in pairs})


def in_openvino(path: Path, pairs: Sequence[Pair], scale: int) -> dict[str, Quality]:
    """PSNR and SSIM of whole images as OpenVINO computes them."""
    compiled = ov.compile_model(ov.Core().read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    found = {}
    for pair in pairs:
        ours = np.array(request.infer([to_values(pair.low)[None]])[0][0])
        found[pair.name] = quality(ours, to_values(pair.high), scale)
    return found


def timed(rows: Sequence[tuple[str, Path, dict[str, Quality]]], shape: Sequence[int], rounds: int = 50) -> list[Row]:
    """Rows of IR files with their sizes and speeds, measured in turns on inputs of one shape."""
    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    found = benchmark_openvino([path for _, path, _ in rows], rounds=rounds, properties=properties, shape=shape)
    return [
        Row(name, qualities, timing.bin_bytes, timing.latency.median, timing.throughput.median)
        for (name, _, qualities), timing in zip(rows, found.timings, strict=True)
    ]
