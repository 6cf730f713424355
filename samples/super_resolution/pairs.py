"""Low-resolution images made from originals, as the field's test sets are made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nncf_slb.photos.images import resize_bicubic
from nncf_slb.photos.ycbcr import rgb_to_ycbcr

Codes = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Original:
    """A photograph: its name and RGB, uint8 ``[3, height, width]``."""

    name: str
    rgb: Codes


@dataclass(frozen=True)
class Pair:
    """An image twice, for networks with Y or RGB.

    Attributes:
        name: Name of the image.
        low: uint8 ``[channels, height, width]``, 1 channel for Y, 3 for RGB.
        high: uint8 ``[channels, height * scale, width * scale]``.
    """

    name: str
    low: Codes
    high: Codes


def to_codes(values: FloatArray) -> Codes:
    """Values in [0, 1], others cut off, as 8-bit codes."""
    return np.rint(values.clip(0, 1) * np.float32(255)).astype(np.uint8)


def to_values(codes: Codes) -> FloatArray:
    """8-bit codes as float32 in [0, 1]."""
    return codes.astype(np.float32) / np.float32(255)


def cropped(rgb: Codes, scale: int) -> Codes:
    """Without the last rows and columns that `scale` does not divide."""
    height, width = (side - side % scale for side in rgb.shape[1:])
    return rgb[:, :height, :width]


def reduced(rgb: Codes, scale: int) -> Codes:
    """Bicubic reduction with antialiasing, `scale` times, in 8 bits."""
    height, width = (side // scale for side in rgb.shape[1:])
    return to_codes(resize_bicubic(to_values(rgb), height, width))


def enlarged(codes: Codes, scale: int) -> Codes:
    """Bicubic enlargement in 8 bits: what every network is compared with."""
    height, width = (side * scale for side in codes.shape[1:])
    return to_codes(resize_bicubic(to_values(codes), height, width))


def make_pair(original: Original, scale: int, channels: int) -> Pair:
    """Reduce an original in RGB, then turn both into what the network gets."""
    high = cropped(original.rgb, scale)
    low = reduced(high, scale)
    if channels == 1:
        low, high = (to_codes(rgb_to_ycbcr(to_values(rgb))[:1]) for rgb in (low, high))
    return Pair(original.name, low, high)
