"""What searched networks are worth: PSNR and SSIM of each image, bytes and latency, beside bicubic and float."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.table import Table

from nncf_slb import benchmark_openvino
from nncf_slb.files import new_file
from nncf_slb.openvino.ir import compile_ir, read_ir
from nncf_slb.tables import markdown_table
from samples.super_resolution.metrics import quality
from samples.super_resolution.pairs import Pair, enlarged, to_values
from samples.training.progress import console

Quality = tuple[float, float]  # PSNR in dB, SSIM
_COLUMNS = 8  # images that one table has room for


@dataclass(frozen=True)
class Row:
    """One way to enlarge.

    Attributes:
        network: Name in the table.
        qualities: PSNR and SSIM by the name of the image.
        bytes: Size of the ``.bin``; None without a file.
        milliseconds: Latency; None where there is none.
        throughput: Images a second; None where there is none.
        throughput_ratio: How many times that of the first file, measured in turns with it; None where there is none.
    """

    network: str
    qualities: dict[str, Quality]
    bytes: int | None = None
    milliseconds: float | None = None
    throughput: float | None = None
    throughput_ratio: float | None = None

    @property
    def mean(self) -> Quality:
        """Mean PSNR and SSIM of all images."""
        return self.mean_of(list(self.qualities))

    def mean_of(self, images: Sequence[str]) -> Quality:
        """Mean PSNR and SSIM of some images."""
        psnr, ssim = zip(*(self.qualities[image] for image in images), strict=True)
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

    def _cells(self, groups: Mapping[str, Sequence[str]]) -> tuple[list[str], list[list[str]]]:
        """Header and rows of text: PSNR / SSIM on average and of each group of images, bytes and speed if known."""
        sized = any(row.bytes is not None for row in self.rows)
        timed = any(row.milliseconds is not None for row in self.rows)
        header = ["network", "PSNR / SSIM, mean", *groups]
        header += [".bin bytes"] * sized + ["ms", "images/s"] * timed
        lines = []
        for row in self.rows:
            qualities = [row.mean, *(row.mean_of(images) for images in groups.values())]
            cells = [row.network, *(f"{psnr:.2f} / {ssim:.4f}" for psnr, ssim in qualities)]
            cells += ["" if row.bytes is None else f"{row.bytes:,}"] * sized
            speed = ["" if each is None else f"{each:.2f}" for each in (row.milliseconds, row.throughput)]
            lines.append(cells + speed * timed)
        return header, lines

    def _sets(self) -> dict[str, list[str]]:
        """Images by the folder in front of their names, if there are several folders."""
        sets: dict[str, list[str]] = {}
        for image in self.rows[0].qualities:
            sets.setdefault(image.rpartition("/")[0], []).append(image)
        return sets if len(sets) > 1 else {}

    def markdown(self) -> str:
        """The table as Markdown, with every image: those of many images have a table of their own."""
        images = {image: [image] for image in self.rows[0].qualities}
        if len(images) <= _COLUMNS:
            return self._table(*self._cells(self._sets() | images))
        lines = []
        for image in images:
            qualities = [row.qualities[image] for row in self.rows]
            lines.append([image, *(f"{psnr:.2f} / {ssim:.4f}" for psnr, ssim in qualities)])
        own = self._table(["image", *(row.network for row in self.rows)], lines)
        return "\n\n".join([self._table(*self._cells(self._sets())), own])

    @staticmethod
    def _table(header: list[str], lines: list[list[str]]) -> str:
        return markdown_table(header, lines, "l" + "r" * (len(header) - 1))

    def show(self, file: Path) -> None:
        """Print the table without single images, which fits a terminal, and write all of it."""
        header, lines = self._cells(self._sets())
        table = Table(title=self.title, title_justify="left")
        for name in header:
            table.add_column(name, justify="left" if name == "network" else "right")
        for cells in lines:
            table.add_row(*cells)
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
    compiled = compile_ir(read_ir(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
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
        Row(
            name, qualities, timing.bin_bytes, timing.latency.median, timing.throughput.median,
            timing.throughput_ratio.median,
        )
        for (name, _, qualities), timing in zip(rows, found.timings, strict=True)
    ]  # fmt: skip
