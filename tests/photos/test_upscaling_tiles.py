"""Photographs in tiles against the whole, of any size."""

import numpy as np
import openvino as ov
import pytest
import torch
from PIL import Image
from torch import nn

import nncf_slb
from nncf_slb.photos.ycbcr import rgb_to_ycbcr
from tests.networks import compress, make_config
from tests.photos.photographs import PHOTO, RADIUS, convolutions, ir, repeat, saved, upscaled


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (11, 2)])
def test_photos_of_a_few_pixels(size, tmp_path):
    photo = PHOTO[: size[0], : size[1]]
    model = ir(tmp_path, convolutions(3, 2), (-1, 3, -1, -1))
    assert upscaled(tmp_path, photo, model, tile=4, overlap=RADIUS).shape == (2 * size[0], 2 * size[1], 3)


@pytest.mark.parametrize(("channels", "scale"), [(1, 3), (3, 2)])
@pytest.mark.parametrize(("tile", "overlap"), [(16, RADIUS), (7, RADIUS + 3), (30, 32)])
def test_tiles_equal_the_whole(channels, scale, tile, overlap, tmp_path):
    model = ir(tmp_path, convolutions(channels, scale), (-1, channels, -1, -1))
    whole = upscaled(tmp_path, PHOTO, model)
    result = nncf_slb.upscale_image(tmp_path / "photo.png", model, tmp_path / "t.png", tile=tile, overlap=overlap)
    assert result.tiles > 1 or tile + 2 * overlap >= max(PHOTO.shape)
    difference = np.abs(np.asarray(Image.open(tmp_path / "t.png")).astype(int) - whole)
    assert whole.std() > 1 and difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_tiles_equal_the_whole_on_16_bits_and_a_short_overlap_does_not(tmp_path):
    wide = PHOTO[..., 1].astype(np.uint16) * 257
    model = ir(tmp_path, convolutions(1, 2))
    whole = upscaled(tmp_path, wide, model).astype(int)
    assert whole.std() > 100
    assert np.abs(upscaled(tmp_path, wide, model, tile=16, overlap=RADIUS) - whole).max() <= 1
    strip = wide[:, :10]  # one column of tiles, so that a row is a seam or none
    whole = upscaled(tmp_path, strip, model).astype(int)
    short = upscaled(tmp_path, strip, model, tile=16, overlap=RADIUS - 2)
    rows = np.flatnonzero((np.abs(short - whole) > 1).any(axis=1))
    near = [row for seam in (18, 34) for row in range(2 * (seam - 2), 2 * (seam + 2))]
    assert len(rows) and set(rows) <= set(near)


def test_all_tiles_are_computed_in_one_shape(tmp_path, monkeypatch):
    shapes = []
    real = ov.InferRequest.infer

    def noted(self, inputs, **settings):
        shapes.append(inputs[0].shape)
        return real(self, inputs, **settings)

    monkeypatch.setattr(ov.InferRequest, "infer", noted)
    model = ir(tmp_path, repeat(2))
    result = nncf_slb.upscale_image(saved(tmp_path, PHOTO), model, tmp_path / "o.png", tile=20, overlap=3)
    assert set(shapes) == {(1, 1, 26, 26)} and len(shapes) == result.tiles == 3 * 4


def test_an_ir_of_this_package_made_for_any_size(tmp_path):
    """Codes of 2 bits; on the same luma PyTorch computes the same."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 4, 3, padding=1), nn.PixelShuffle(2),
    )  # fmt: skip
    ctrl, compressed = compress(network, make_config([1, 1, 16, 16]))
    compressed.eval()
    fixed = nncf_slb.export_openvino(ctrl, tmp_path / "fixed.xml")
    model = ov.Core().read_model(fixed)
    model.reshape(ov.PartialShape([-1, 1, -1, -1]))
    ov.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    grey = PHOTO[..., 1]
    result = upscaled(tmp_path, grey.astype(np.uint16) * 257, tmp_path / "m.xml", tile=24, overlap=3)
    luma = rgb_to_ycbcr(np.stack([grey] * 3).astype(np.float32) / 255)[:1]
    with torch.no_grad():
        expected = ctrl.strip(do_copy=True)(torch.from_numpy(luma[None]))[0, 0].numpy()
    expected = ((expected * 255 - 16) / 219).clip(0, 1)
    assert expected.std() > 0.01
    np.testing.assert_allclose(result / 65535, expected, atol=1e-4)
