"""Photographs through IRs: known pixels, tiles against the whole, what each kind of photo becomes, what is refused."""

import json
from functools import lru_cache

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as ops
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

import nncf_slb
from nncf_slb.cli import main
from nncf_slb.ycbcr import rgb_to_ycbcr
from tests.networks import compress, make_config

PHOTO = load_sample_images().images[0][150:203, 300:377]  # odd in both directions: 53 x 77
FLOWER = load_sample_images().images[1][100:161, 200:281]


class Repeat(nn.Module):
    """Each pixel becomes scale x scale: the result is known."""

    def __init__(self, scale):
        super().__init__()
        self.shuffle, self.scale = nn.PixelShuffle(scale), scale

    def forward(self, x):
        return self.shuffle(x.repeat_interleave(self.scale**2, dim=1))


class StudioRange(Repeat):
    """Cuts off what luma between black and white cannot be."""

    def forward(self, x):
        return super().forward(x.clamp(16 / 255, 235 / 255))


class MixedColours(Repeat):
    """Red out is the mean of red and blue: shows the order of channels."""

    def forward(self, x):
        return super().forward(torch.cat([(x[:, :1] + x[:, 2:]) / 2, x[:, 1:]], dim=1))


class Padded(nn.Module):
    """Twice as many pixels, and two more."""

    def forward(self, x):
        return nn.functional.pad(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), (1, 1, 1, 1))


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return (x + y).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@lru_cache
def repeat(scale):
    return Repeat(scale)


RADIUS = 4  # of Convolutions: 2 + 1 + 1


@lru_cache
def convolutions(channels, scale):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale),
    ).eval()  # fmt: skip


@lru_cache
def converted(network, shapes):
    examples = tuple(torch.zeros([64 if length == -1 else length for length in shape]) for shape in shapes)
    example = examples if len(examples) > 1 else examples[0]
    return ov.convert_model(network.eval(), example_input=example, input=[ov.PartialShape(shape) for shape in shapes])


def ir(folder, network, *shapes):
    """File of a network; by default for photos of 1 channel and any size."""
    ov.save_model(converted(network, shapes or ((-1, 1, -1, -1),)), folder / "m.xml", compress_to_fp16=False)
    return folder / "m.xml"


def saved(folder, pixels, name="photo.png", **settings):
    Image.fromarray(pixels).save(folder / name, **settings)
    return folder / name


def upscaled(folder, pixels, model, output="out.png", **settings):
    nncf_slb.upscale_image(saved(folder, pixels), model, folder / output, **settings)
    return np.asarray(Image.open(folder / output))


def repeated(pixels, scale):
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


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


def test_the_command_writes_the_file_and_says_so(tmp_path, capsys):
    model, photo = ir(tmp_path, repeat(2)), saved(tmp_path, PHOTO, "photo.jpg", quality=95)
    command = ["upscale", str(photo), "--model", str(model), "-o", str(tmp_path / "new" / "out.jpg")]
    assert main(command) == 0
    assert "154 x 106 pixels, 2 times" in capsys.readouterr().out
    assert Image.open(tmp_path / "new" / "out.jpg").size == (154, 106)
    more = ["--tile", "20", "--overlap", "5", "--device", "CPU", "--property", "INFERENCE_NUM_THREADS=1", "--json"]
    assert main([*command[:-1], str(tmp_path / "out.png"), *more]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["scale"], printed["height"], printed["width"], printed["tiles"]) == (2, 106, 154, 3 * 4)


def test_floating_point_parts_run_in_float32_unless_told_otherwise(tmp_path, monkeypatch):
    seen = []
    real = ov.Core.compile_model

    def noted(self, model, device, config):
        seen.append(config["INFERENCE_PRECISION_HINT"])
        return real(self, model, device, {})

    monkeypatch.setattr(ov.Core, "compile_model", noted)
    command = ["upscale", str(saved(tmp_path, PHOTO)), "--model", str(ir(tmp_path, repeat(2)))]
    command += ["-o", str(tmp_path / "out.png")]
    assert main(command) == 0 and main([*command, "--property", "INFERENCE_PRECISION_HINT=bf16"]) == 0
    assert seen == ["f32", "bf16"]


WRONG_MODELS = {
    "fixed size": (repeat(2), (-1, 1, 8, 8), r"f32 \[\?,1,8,8\] and 1 outputs; allowed is .*Model\.reshape"),
    "fixed width": (repeat(2), (1, 1, -1, 8), r"allowed is one output and one floating point input"),
    "batch of 4": (repeat(2), (4, 1, -1, -1), r"f32 \[4,1,\?,\?\].* a batch of 1 or any"),
    "2 channels": (repeat(2), (-1, 2, -1, -1), r"f32 \[\?,2,\?,\?\].* 1 or 3 channels"),
    "any channels": (nn.Identity(), (-1, -1, -1, -1), "1 or 3 channels"),
    "3 dimensions": (nn.Identity(), (1, -1, -1), "allowed is one output and one floating point input"),
    "two inputs": (TwoInputs(), (-1, 1, -1, -1), r"f32 \[\?,1,\?,\?\], f32 \[\?,1,\?,\?\] and 1 outputs"),
    "no multiple": (Padded(), (-1, 1, -1, -1), r"output is \[1,1,108,156\] where its input is \[1, 1, 53, 77\]"),
    "same size": (nn.Identity(), (-1, 1, -1, -1), "multiply height and width by one integer from 2 on"),
    "other channels": (nn.Conv2d(1, 3, 1), (-1, 1, -1, -1), "keep the other two"),
    "flat": (nn.Flatten(), (-1, 1, -1, -1), r"output is \[1,4081\]"),
    "wants more": (nn.ReflectionPad2d(60), (-1, 1, -1, -1), r"does not take inputs of the shape \[1, 1, 53, 77\]"),
}


@pytest.mark.parametrize("kind", WRONG_MODELS)
def test_other_networks_are_refused(kind, tmp_path):
    network, shape, message = WRONG_MODELS[kind]
    shapes = [shape] * (2 if kind == "two inputs" else 1)
    with pytest.raises(nncf_slb.IrError, match=message):
        upscaled(tmp_path, PHOTO, ir(tmp_path, network, *shapes))
    assert not (tmp_path / "out.png").exists()


def repeat_of(kind, path):
    x = ops.parameter([-1, 1, -1, -1], kind)
    ov.save_model(ov.Model([ops.depth_to_space(ops.concat([x] * 4, 1), "blocks_first", 2)], [x]), path)
    return path


def test_inputs_of_half_precision_are_floating_point_too(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    result = upscaled(tmp_path, grey, repeat_of(np.float16, tmp_path / "m.xml"))
    np.testing.assert_array_equal(result, repeated(grey, 2))


def test_integers_are_refused_since_values_from_0_to_1_would_all_be_0(tmp_path):
    with pytest.raises(nncf_slb.IrError, match=r"u8 \[\?,1,\?,\?\].*one floating point input"):
        upscaled(tmp_path, PHOTO, repeat_of(np.uint8, tmp_path / "m.xml"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("absent.png --model {ir} -o {folder}/o.png", "absent.png: there is no such file"),
        ("{ir} --model {ir} -o {folder}/o.png", "it is no image that Pillow can read"),
        ("{folder}/cut.png --model {ir} -o {folder}/o.png", "cut.png: it is damaged or cannot be read"),
        ("{photo} --model absent.xml -o {folder}/o.png", "absent.xml: there is no such file"),
        ("{photo} --model {photo} -o {folder}/o.png", "an IR file ends in .xml"),
        ("{photo} --model {ir} -o {folder}/o.gif", "allowed are names that end in .png, .tif, .tiff, .webp, .jpg"),
        ("{photo} --model {ir} -o {folder}/o.jpg", "JPEG files cannot hold the transparency that the photo has"),
        ("{photo} --model {ir} -o {ir}/o.png", "cannot be written"),
        ("{photo} --model {ir} -o {folder}/o.png --tile 0", "tile: received 0; allowed is at least 1"),
        ("{photo} --model {ir} -o {folder}/o.png --overlap -1", "overlap: received -1; allowed is at least 0"),
        ("{photo} --model {ir} -o {folder}/o.png --device NONE", "device NONE: OpenVINO cannot compile"),
        ("{photo} --model {ir} -o {folder}/o.png --property X", "--property: received X; write NAME=VALUE"),
    ],
)
def test_what_cannot_be_used_is_one_message_and_exit_status_2(command, message, tmp_path, capfd):
    photo = saved(tmp_path, np.dstack([PHOTO, PHOTO[..., 0]]))
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:2000])
    path = ir(tmp_path, repeat(2))
    before = sorted(tmp_path.rglob("*"))
    assert main(["upscale", *command.format(ir=path, folder=tmp_path, photo=photo).split()]) == 2
    out, err = capfd.readouterr()
    assert message in err and err.startswith("error: ") and err.count("\n") == 1 and not out
    assert sorted(tmp_path.rglob("*")) == before


def test_alpha_for_jpeg_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(ov.Core, "compile_model", lambda *_: pytest.fail("compiled"))
    with pytest.raises(nncf_slb.ImageError, match="JPEG"):
        upscaled(tmp_path, np.dstack([PHOTO, PHOTO[..., 0]]), ir(tmp_path, repeat(2)), "out.jpg")


def test_more_pixels_than_the_format_holds_are_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(ov.Core, "compile_model", lambda *_: pytest.fail("compiled"))
    with pytest.raises(nncf_slb.ImageError, match=r"for 16400 x 2 pixels, and WEBP files hold at most 16383"):
        upscaled(tmp_path, np.zeros((1, 8200), np.uint8), ir(tmp_path, repeat(2)), "out.webp")


def test_what_fails_while_running_says_how_to_need_less_memory(tmp_path, monkeypatch):
    def out_of_memory(*_, **__):
        raise RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:1:\nstd::bad_alloc")

    monkeypatch.setattr(ov.InferRequest, "infer", out_of_memory)
    message = r"m\.xml: OpenVINO cannot run it on \[1, 53, 77\] \(std::bad_alloc\); where memory is short, set a \(sm"
    with pytest.raises(nncf_slb.IrError, match=message):
        upscaled(tmp_path, PHOTO, ir(tmp_path, repeat(2)))
