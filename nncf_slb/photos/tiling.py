"""Large images through a network in tiles, so that memory depends on the tile and not on the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# More than the radius of the receptive field of most super-resolution networks: a 3 x 3 convolution adds 1.
DEFAULT_OVERLAP = 32


@dataclass(frozen=True)
class Piece:
    """One tile along one axis.

    Attributes:
        window: Pixels that the network sees.
        core: Pixels among them whose results are kept.
    """

    window: slice
    core: slice


def window_length(length: int, tile: int, overlap: int) -> int:
    """Pixels that the network sees of an axis of `length` pixels."""
    return min(length, tile + 2 * overlap)


def pieces(length: int, tile: int, overlap: int) -> list[Piece]:
    """Cut an axis into tiles.

    All windows are equally long, so that a network can be compiled for one shape: those at the borders of the image
    reach no further than it and keep `overlap` pixels more, and the last one is moved inwards.

    Args:
        length: Pixels of the axis.
        tile: Pixels from one window to the next, at least 1.
        overlap: Pixels around a core that the network sees as well, except beyond the borders of the image.

    Returns:
        Pieces whose cores, put together, are the axis.
    """
    window = window_length(length, tile, overlap)
    last = length - window
    starts = [*range(0, last, tile), last]
    cuts = [0, *(start + overlap for start in starts[1:]), length]
    return [
        Piece(slice(start, start + window), slice(begin, end))
        for start, begin, end in zip(starts, cuts[:-1], cuts[1:], strict=True)
    ]


def in_tiles(
    run: Callable[[FloatArray], FloatArray], values: FloatArray, scale: int, tile: int, overlap: int
) -> FloatArray:
    """Enlarge an image tile by tile.

    Args:
        run: From [channels, h, w] to [channels, h * scale, w * scale], for one h and one w.
        values: Image, [channels, height, width].
        scale: How many times as high and as wide the result is.
        tile: As in `pieces`, for both axes.
        overlap: As in `pieces`; from the radius of the receptive field of `run` on, the result is that of the whole
            image at once.

    Returns:
        float32, [channels, height * scale, width * scale].
    """
    channels, height, width = values.shape
    result = np.empty((channels, height * scale, width * scale), np.float32)
    for rows in pieces(height, tile, overlap):
        for columns in pieces(width, tile, overlap):
            window = run(values[:, rows.window, columns.window])
            kept = window[:, _inside(rows, scale), _inside(columns, scale)]
            result[:, _enlarged(rows.core, scale), _enlarged(columns.core, scale)] = kept
    return result


def _enlarged(pixels: slice, scale: int) -> slice:
    return slice(pixels.start * scale, pixels.stop * scale)


def _inside(piece: Piece, scale: int) -> slice:
    """The core, counted from the window's first pixel."""
    start = piece.window.start
    return _enlarged(slice(piece.core.start - start, piece.core.stop - start), scale)
