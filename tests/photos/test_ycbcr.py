"""Colour conversion against numbers from the standard, and back on real photographs."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from nncf_slb.photos.ycbcr import grey_to_luma, luma_to_grey, rgb_to_ycbcr, ycbcr_to_rgb

# BT.601 in the studio range: 16 + 219 Y', 128 + 224 (B' - Y') / 1.772, 128 + 224 (R' - Y') / 1.402.
COLOURS = {
    (0, 0, 0): (16, 128, 128),
    (1, 1, 1): (235, 128, 128),
    (1, 0, 0): (81.481, 90.203, 240),
    (0, 1, 0): (144.553, 53.797, 34.214),
    (0, 0, 1): (40.966, 240, 109.786),
    (0.2, 0.5, 0.9): (115.8421, 184.139, 87.1144),
}


@pytest.mark.parametrize(("rgb", "ycbcr"), COLOURS.items())
def test_colours_have_the_standards_numbers(rgb, ycbcr):
    pixel = np.array(rgb, np.float32)[:, None, None]
    assert 255 * rgb_to_ycbcr(pixel).ravel() == pytest.approx(ycbcr, abs=1e-4)


def test_the_definition_by_differences_gives_the_same():
    rgb = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
    red, _, blue = rgb.astype(np.float64)
    y = np.tensordot([0.299, 0.587, 0.114], rgb.astype(np.float64), axes=1)
    expected = np.stack([16 + 219 * y, 128 + 224 * (blue - y) / 1.772, 128 + 224 * (red - y) / 1.402])
    # The standard's integers are the formula's rounded to 0.001.
    np.testing.assert_allclose(255 * rgb_to_ycbcr(rgb), expected, atol=2e-3)


@pytest.mark.parametrize("index", [0, 1])
def test_photographs_come_back_to_the_last_bit_of_their_file(index):
    photo = load_sample_images().images[index]
    rgb = photo.transpose(2, 0, 1).astype(np.float32) / 255
    ycbcr = rgb_to_ycbcr(rgb)
    assert ycbcr.dtype == np.float32
    back = ycbcr_to_rgb(ycbcr)
    assert np.abs(back - rgb).max() < 1e-5
    np.testing.assert_array_equal(np.rint(255 * back).transpose(1, 2, 0), photo)


def test_grey_is_the_luma_of_equal_channels_and_keeps_16_bits():
    grey = (np.arange(65536, dtype=np.float32) / 65535).reshape(1, 256, 256)
    luma = grey_to_luma(grey)
    np.testing.assert_allclose(rgb_to_ycbcr(np.repeat(grey, 3, axis=0))[:1], luma, atol=1e-6)
    assert (255 * luma.min(), 255 * luma.max()) == pytest.approx((16, 235), abs=1e-4)
    np.testing.assert_array_equal(np.rint(65535 * luma_to_grey(luma)), np.arange(65536).reshape(1, 256, 256))
