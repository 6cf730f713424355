"""PSNR and SSIM as the field computes them: on Y of YCbCr, in 8 bits, without a border of `scale` pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nncf_slb.photos.ycbcr import rgb_to_ycbcr

_WINDOW = 11  # pixels of SSIM's window
_EQUAL = 100.0  # dB of equal images


def smallest_side(border: int) -> int:
    """Height and width in pixels that an image needs for `quality` without such a border."""
    return _WINDOW + 2 * border


def luma(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Y in 8-bit units, 16 to 235, rounded.

    Args:
        image: float32 in [0, 1], Y ``[1, height, width]`` or RGB ``[3, height, width]``; values beyond are cut off.

    Returns:
        float64 ``[height, width]``.
    """
    codes = np.rint(image.clip(0, 1) * np.float32(255))
    if len(codes) == 3:
        codes = np.rint(rgb_to_ycbcr((codes / 255).astype(np.float32)) * 255)
    return codes[0].astype(np.float64)


def quality(ours: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], border: int) -> tuple[float, float]:
    """PSNR in dB and SSIM of one image.

    SSIM has the Gaussian window of Wang et al. (2004): 11 x 11 pixels, sigma 1.5. Equal images count as 100 dB, so that
    means stay finite.

    Args:
        ours: Image as in `luma`.
        truth: Original, of the same shape.
        border: Pixels to leave out on each side.
    """
    inside = (slice(border, -border),) * 2 if border else (slice(None),) * 2
    a, b = luma(truth)[inside], luma(ours)[inside]
    psnr = peak_signal_noise_ratio(a, b, data_range=255) if (a != b).any() else _EQUAL
    ssim = structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
    return float(psnr), float(ssim)
