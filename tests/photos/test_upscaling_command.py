"""The command that enlarges photographs: what it writes and says, and which networks, files and settings it refuses."""

import json
import os

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from PIL import Image
from torch import nn

import nncf_slb
from nncf_slb.cli import main
from tests.openvino.damages import DAMAGES
from tests.photos.photographs import PHOTO, ir, repeat, repeated, saved, upscaled


class Padded(nn.Module):
    """Twice as many pixels, and two more."""

    def forward(self, x):
        return nn.functional.pad(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), (1, 1, 1, 1))


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return (x + y).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


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


@pytest.mark.parametrize("name", [b"\xff\xfe", b"two\nlines"])
def test_files_may_have_any_name(name, tmp_path, capsys):
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    command = ["upscale", str(saved(folder, PHOTO)), "--model", str(ir(folder, repeat(2)))]
    assert main([*command, "-o", str(folder / "new" / "out.png")]) == 0
    assert Image.open(folder / "new" / "out.png").size == (154, 106)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert main([*command, "-o", str(folder / "out.text")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable() and "allowed are names that end in" in line


@pytest.mark.parametrize(
    "damage", ["net[0] version='999'", "data[0] shape='x'", "layers[0] emptied", "unknown encoding", "very deep"]
)
def test_a_damaged_network_is_one_line(damage, tmp_path, capfd):
    model, photo = ir(tmp_path, repeat(2)), saved(tmp_path, PHOTO)
    DAMAGES[damage](model)
    before = sorted(tmp_path.iterdir())
    assert main(["upscale", str(photo), "--model", str(model), "-o", str(tmp_path / "new" / "out.png")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: {model}: ") and sorted(tmp_path.iterdir()) == before


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
    with pytest.raises(nncf_slb.SLBError, match=message):
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
    with pytest.raises(nncf_slb.SLBError, match=r"u8 \[\?,1,\?,\?\].*one floating point input"):
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
    with pytest.raises(nncf_slb.DeviceError, match=message):
        upscaled(tmp_path, PHOTO, ir(tmp_path, repeat(2)))
