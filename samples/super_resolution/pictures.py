"""One crop of a photograph, enlarged in several ways, side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import nncf_slb
from nncf_slb.files import new_file
from nncf_slb.photos.images import Photo, read_photo, write_photo
from samples.super_resolution.metrics import quality
from samples.super_resolution.pairs import Codes, Original, cropped, enlarged, reduced, to_codes, to_values

_GAP, _LINE, _SIDE = 8, 18, 240  # pixels


@dataclass(frozen=True)
class Crop:
    """A square of a photograph: its name, and place and side in pixels of the original."""

    photo: str
    top: int
    left: int
    side: int


# Fine structures of the test photographs: lashes and fur, the patch on an arm, the edge of a cup, petals.
CROPS = (Crop("chelsea", 90, 130, 96), Crop("astronaut", 300, 60, 96), Crop("coffee", 120, 150, 96))


def crop_sheet(
    originals: Sequence[Original], networks: Sequence[tuple[str, Path]], scale: int, path: Path,
    crops: Sequence[Crop] | None = None,
) -> Path:  # fmt: skip
    """Write a PNG: a row for each crop, a column for each way to enlarge, its PSNR on the whole photograph below.

    Args:
        originals: Photographs.
        networks: Name and IR of each network, in order.
        scale: Factor that they enlarge by.
        path: File to write.
        crops: What to show; by default `CROPS`, or the centres of the first photographs if none of those is among them.
    """
    by_name = {original.name: original for original in originals}
    shown = crops or [crop for crop in CROPS if crop.photo in by_name] or list(map(_centre, originals[: len(CROPS)]))
    rows = [_row(by_name[crop.photo], crop, networks, scale) for crop in shown]
    sheet = _sheet(rows)
    with new_file(path) as partial:
        sheet.save(partial, "PNG", optimize=True)
    return path


def _centre(original: Original) -> Crop:
    height, width = original.rgb.shape[1:]
    side = min(height, width, CROPS[0].side)
    return Crop(original.name, (height - side) // 2, (width - side) // 2, side)


def _row(original: Original, crop: Crop, networks: Sequence[tuple[str, Path]], scale: int) -> list[tuple[str, Codes]]:
    """Text and pixels of each cell."""
    truth = cropped(original.rgb, scale)
    low = reduced(truth, scale)
    ways = [("bicubic", enlarged(low, scale)), *((name, _enlarged_by(path, low)) for name, path in networks)]
    cells = []
    for name, ours in ways:
        psnr, _ = quality(to_values(ours), to_values(truth), scale)
        cells.append((f"{name}  {psnr:.2f} dB", ours))
    return [(text, _cut(codes, crop)) for text, codes in [*cells, (f"original ({original.name})", truth)]]


def _enlarged_by(network: Path, low: Codes) -> Codes:
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "low.png", Path(folder) / "high.png"
        write_photo(Photo(to_values(low)), source)
        nncf_slb.upscale_image(source, network, result)
        return to_codes(read_photo(result).values)


def _cut(codes: Codes, crop: Crop) -> Codes:
    return codes[:, crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]


def _sheet(rows: list[list[tuple[str, Codes]]]) -> Image.Image:
    width = max(map(len, rows)) * (_SIDE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, len(rows) * (_SIDE + _LINE + _GAP) + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, cells in enumerate(rows):
        for column, (text, codes) in enumerate(cells):
            left, top = _GAP + column * (_SIDE + _GAP), _GAP + row * (_SIDE + _LINE + _GAP)
            picture = Image.fromarray(np.ascontiguousarray(codes.transpose(1, 2, 0)))
            # Whole pixels stay visible: nothing is smoothed that a network left rough.
            sheet.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST), (left, top))
            draw.text((left, top + _SIDE + 2), text, fill="black", font=font)
    return sheet
