"""Colour conversion between RGB and YCbCr (ITU-R BT.601, studio range), as super-resolution networks are trained on it.

With R, G and B in [0, 1]::

    255 Y  =  16 +  65.481 R + 128.553 G +  24.966 B     from 16 to 235
    255 Cb = 128 -  37.797 R -  74.203 G + 112     B     from 16 to 240
    255 Cr = 128 + 112     R -  93.786 G -  18.214 B     from 16 to 240

MATLAB's and scikit-image's ``rgb2ycbcr`` use the same numbers; Pillow's and JPEG's YCbCr has another range (0 to 255).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

_FROM_RGB = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
_OFFSET = np.array([[[16]], [[128]], [[128]]], np.float32) / np.float32(255)
_BLACK, _WHITE = 16 / 255, 235 / 255


def rgb_to_ycbcr(rgb: FloatArray) -> FloatArray:
    """Y, Cb and Cr, divided by 255, of R, G and B in [0, 1]; both float32 of the shape [3, height, width]."""
    return np.tensordot(_FROM_RGB.astype(np.float32), rgb, axes=1) + _OFFSET


def ycbcr_to_rgb(ycbcr: FloatArray) -> FloatArray:
    """Inverse of `rgb_to_ycbcr`; colours that RGB does not have come out below 0 or above 1."""
    return np.tensordot(np.linalg.inv(_FROM_RGB).astype(np.float32), ycbcr - _OFFSET, axes=1)


def grey_to_luma(grey: FloatArray) -> FloatArray:
    """Y, divided by 255, of R = G = B = `grey` in [0, 1]; float32 of any shape."""
    return grey * np.float32(_WHITE - _BLACK) + np.float32(_BLACK)


def luma_to_grey(luma: FloatArray) -> FloatArray:
    """Inverse of `grey_to_luma`."""
    return (luma - np.float32(_BLACK)) / np.float32(_WHITE - _BLACK)
