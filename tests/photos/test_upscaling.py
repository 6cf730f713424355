"""Photographs through IRs: known pixels, and what each kind of photo becomes."""

import numpy as np
import pytest
import torch
from PIL import Image

import nncf_slb
from tests.photos.photographs import FLOWER, PHOTO, Repeat, convolutions, ir, repeat, repeated, saved, upscaled


class StudioRange(Repeat):
    """Cuts off what luma between black and white cannot be."""

    def forward(self, x):
        return super().forward(x.clamp(16 / 255, 235 / 255))


class MixedColours(Repeat):
    """Red out is the mean of red and blue: shows the order of channels."""

    def forward(self, x):
        return super().forward(torch.cat([(x[:, :1] + x[:, 2:]) / 2, x[:, 1:]], dim=1))


def bicubic(plane, scale):
    height, width = plane.shape
    image = Image.fromarray(plane).resize((width * scale, height * scale), Image.Resampling.BICUBIC)
    return np.asarray(image)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_three_channels_get_the_colours_as_they_are(scale, tmp_path):
    model = ir(tmp_path, repeat(scale), (-1, 3, -1, -1))
    np.testing.assert_array_equal(upscaled(tmp_path, PHOTO, model), repeated(PHOTO, scale))


def test_three_channels_are_red_green_and_blue_in_this_order(tmp_path):
    photo = np.array([[[200, 50, 100]]], np.uint8)
    result = upscaled(tmp_path, photo, ir(tmp_path, MixedColours(2), (-1, 3, -1, -1)))
    assert result.tolist() == [[[150, 50, 100]] * 2] * 2


@pytest.mark.parametrize("photo", [PHOTO, FLOWER], ids=["china", "flower"])
@pytest.mark.parametrize("scale", [2, 3])
def test_one_channel_gets_luma_and_the_other_two_are_bicubic(scale, photo, tmp_path):
    result = upscaled(tmp_path, photo, ir(tmp_path, repeat(scale)))
    red, green, blue = photo.astype(np.float64).transpose(2, 0, 1) / 255
    luma = repeated(16 + 65.481 * red + 128.553 * green + 24.966 * blue, scale)
    cb = bicubic((128 - 37.797 * red - 74.203 * green + 112 * blue).astype(np.float32), scale)
    cr = bicubic((128 + 112 * red - 93.786 * green - 18.214 * blue).astype(np.float32), scale)
    # Numbers of MATLAB's ycbcr2rgb for 8 bits.
    scaled_luma = 0.00456621 * 255 * (luma - 16)
    expected = np.stack(
        [
            scaled_luma + 0.00625893 * 255 * (cr - 128),
            scaled_luma - 0.00153632 * 255 * (cb - 128) - 0.00318811 * 255 * (cr - 128),
            scaled_luma + 0.00791071 * 255 * (cb - 128),
        ],
        axis=-1,
    )
    assert np.abs(result - expected.clip(0, 255)).max() < 0.51


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [-1, 1])
def test_a_network_that_changes_nothing_changes_no_grey_value(batch, channels, tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    result = upscaled(tmp_path, grey, ir(tmp_path, repeat(2), (batch, channels, -1, -1)))
    np.testing.assert_array_equal(result, repeated(grey, 2))


def test_grey_is_luma_of_the_range_that_networks_are_trained_on(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    model = ir(tmp_path, StudioRange(2))  # would cut off black and white if it got grey values as they are
    np.testing.assert_array_equal(upscaled(tmp_path, grey, model), repeated(grey, 2))


def test_a_grey_photo_becomes_what_the_same_colours_become(tmp_path):
    grey = PHOTO[..., 1]
    model = ir(tmp_path, convolutions(1, 2))
    as_grey = upscaled(tmp_path, grey, model)
    as_colours = upscaled(tmp_path, np.dstack([grey] * 3), model)
    assert as_grey.ndim == 2 and as_colours.ndim == 3
    np.testing.assert_array_equal(as_colours, np.dstack([as_grey] * 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_of_16_bits_stays_so(channels, tmp_path):
    wide = (np.arange(60 * 70, dtype=np.uint16) * 15).reshape(60, 70)
    result = upscaled(tmp_path, wide, ir(tmp_path, repeat(2), (-1, channels, -1, -1)))
    assert result.dtype == np.uint16
    assert np.abs(result.astype(int) - repeated(wide, 2)).max() <= (channels == 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colours", [PHOTO, PHOTO[..., 1:2]], ids=["RGBA", "LA"])
def test_alpha_is_enlarged_bicubically(channels, colours, tmp_path):
    opacity = FLOWER[:53, :77, 0]
    pixels = np.dstack([colours, opacity])
    result = upscaled(tmp_path, pixels, ir(tmp_path, repeat(3), (-1, channels, -1, -1)))
    assert result.shape == (159, 231, pixels.shape[-1])
    expected = bicubic(opacity.astype(np.float32), 3).clip(0, 255)
    assert np.abs(result[..., -1] - expected).max() < 0.51


def test_a_palette_with_a_transparent_entry_becomes_colours_with_alpha(tmp_path):
    image = Image.fromarray(PHOTO).quantize(8)
    image.save(tmp_path / "palette.png", transparency=2)
    model = ir(tmp_path, repeat(2), (-1, 3, -1, -1))
    nncf_slb.upscale_image(tmp_path / "palette.png", model, tmp_path / "out.png")
    result = np.asarray(Image.open(tmp_path / "out.png"))
    np.testing.assert_array_equal(result[..., :3], repeated(np.asarray(image.convert("RGB")), 2))
    far_from_others = repeated(np.asarray(image) == 2, 2)[20:40, 20:40]
    assert result.shape[-1] == 4 and result[..., 3].min() == 0 and result[..., 3].max() == 255
    assert result[20:40, 20:40, 3][far_from_others].mean() < result[20:40, 20:40, 3][~far_from_others].mean()


def test_a_photo_from_an_upright_camera_comes_out_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    saved(tmp_path, PHOTO, "turned.png", exif=exif)
    model = ir(tmp_path, repeat(2), (-1, 3, -1, -1))
    result = nncf_slb.upscale_image(tmp_path / "turned.png", model, tmp_path / "out.png")
    assert (result.height, result.width) == (2 * 77, 2 * 53)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), repeated(np.rot90(PHOTO, -1), 2))
