"""Super-resolution: data as the field makes it, metrics, networks of any size, and the way from images to an IR."""

import json

import numpy as np
import openvino as ov
import pytest
import torch
from PIL import Image

import nncf_slb
from nncf_slb.photos.images import resize_bicubic
from samples.super_resolution.batches import PatchBatches
from samples.super_resolution.datasets import TEST, TRAINING, Sources, load_photographs, read_folder
from samples.super_resolution.main import main
from samples.super_resolution.metrics import luma, quality
from samples.super_resolution.models import MODELS
from samples.super_resolution.pairs import Original, enlarged, make_pair, reduced, to_values
from samples.super_resolution.pictures import Crop, crop_sheet
from samples.super_resolution.recipes import RECIPES
from samples.super_resolution.report import Report, Row, bicubic, in_openvino
from samples.super_resolution.trainer import TASK, SuperResolution
from samples.training.data import DatasetError
from samples.training.settings import Settings, check


def photograph(height=60, width=80):
    """Part of a real one."""
    from sklearn.datasets import load_sample_image

    pixels = load_sample_image("china.jpg")[100 : 100 + height, 200 : 200 + width]
    return Original("china", np.moveaxis(pixels, 2, 0).copy())


def write_images(folder, count=2, height=60, width=300):
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = photograph(height, width).rgb.transpose(1, 2, 0)
        Image.fromarray(np.roll(pixels, 7 * index, axis=1)).save(folder / f"{index}.png")
    return folder


def slow_ssim(a, b):
    """Wang et al. (2004), equation 13, with loops over places."""
    axis = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(axis, axis) / axis.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for top in range(a.shape[0] - 10):
        for left in range(a.shape[1] - 10):
            x, y = (each[top : top + 11, left : left + 11] for each in (a, b))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * x * x).sum() - mx * mx, (window * y * y).sum() - my * my
            vxy = (window * x * y).sum() - mx * my
            found.append((2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2)))
    return np.mean(found)


def test_psnr_and_ssim_are_those_of_the_papers_on_luma_without_the_border():
    truth = to_values(photograph(30, 34).rgb)
    ours = to_values(enlarged(reduced(photograph(30, 34).rgb, 2), 2))
    ours[:, 0] = 1.0  # within the border
    psnr, ssim = quality(ours, truth, 2)
    y = [16 + (65.481 * r + 128.553 * g + 24.966 * b) for r, g, b in (truth, ours)]
    a, b = (np.rint(each)[2:-2, 2:-2] for each in y)
    assert psnr == pytest.approx(10 * np.log10(255**2 / np.mean((a - b) ** 2)), abs=1e-4)
    assert ssim == pytest.approx(slow_ssim(a, b), abs=1e-6)


def test_luma_networks_are_measured_on_the_luma_that_colours_have():
    pair = make_pair(photograph(), 2, 1)
    assert np.array_equal(luma(to_values(pair.high)), luma(to_values(photograph().rgb)))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pairs_are_bicubic_reductions_of_originals_that_the_scale_divides(scale):
    original = photograph(61, 83)
    pair = make_pair(original, scale, 3)
    height, width = 61 // scale, 83 // scale
    assert pair.low.shape == (3, height, width) and pair.high.shape == (3, height * scale, width * scale)
    picture = Image.fromarray(pair.high.transpose(1, 2, 0)).resize((width, height), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(picture).transpose(2, 0, 1).astype(int) - pair.low).max() <= 1


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("name", "params"), [("espcn", {}), ("vdsr", {"depth": 3}), ("edsr", {"blocks": 1})])
def test_networks_enlarge_images_of_any_size(name, params, scale):
    network = MODELS[name](scale=scale, channels=1, **params)
    assert network(torch.rand(2, 1, 11, 14)).shape == (2, 1, 11 * scale, 14 * scale)


def test_vdsr_begins_at_bicubic_enlargement():
    low = to_values(make_pair(photograph(), 3, 1).low)
    with torch.no_grad():
        ours = MODELS["vdsr"](scale=3, channels=1, depth=3)(torch.from_numpy(low)[None])[0].numpy()
    assert np.abs(ours - resize_bicubic(low, 60, 78)).max() < 1e-4


def test_photographs_of_the_test_part_are_never_trained_on():
    splits = load_photographs(Sources(2, 1, 24, 10))
    names = {part: [original.name for original in own] for part, own in splits.originals.items()}
    assert len(names["train"]) == len(TRAINING) and names["val"] == names["train"]
    assert len(names["test"]) == len(TEST) and not set(names["test"]) & set(names["train"])
    train, validation = splits.originals["train"][0].rgb, splits.originals["val"][0].rgb
    assert train.shape[2] == 4 * validation.shape[2] + 1 and train.shape[1] == validation.shape[1]


def test_patches_are_places_of_the_images_and_the_same_in_every_run():
    pair = make_pair(photograph(), 2, 1)
    first, second = (PatchBatches([pair], 2, 8, 10, 4, seed=3) for _ in range(2))
    first.set_epoch(1)
    second.set_epoch(1)
    low, high = next(iter(first))
    assert torch.equal(low, next(iter(second))[0]) and low.shape == (4, 1, 8, 8) and high.shape == (4, 1, 16, 16)
    second.set_epoch(2)
    assert not torch.equal(low, next(iter(second))[0])
    places = np.lib.stride_tricks.sliding_window_view(to_values(pair.low)[0], (8, 8))
    turned = [np.rot90(low[0, 0].numpy()[:, ::step], turns) for turns in range(4) for step in (1, -1)]
    assert any((places == each).all((2, 3)).any() for each in turned)
    assert np.abs(reduced(high[0].numpy().repeat(3, 0) * 255, 2)[:1] / 255 - low[0].numpy())[:, 1:-1, 1:-1].max() < 0.03


def test_processes_share_patches_and_interrupted_epochs_have_a_rest():
    pair = make_pair(photograph(), 2, 1)
    whole = list(PatchBatches([pair], 2, 8, 11, 4, seed=3))
    assert all(
        torch.equal(a[0], b[0])
        for a, b in zip(PatchBatches([pair], 2, 8, 11, 4, seed=3).rest(1), whole[1:], strict=True)
    )
    ranks = [PatchBatches([pair], 2, 8, 11, 2, seed=3, rank=rank, world=2) for rank in (0, 1)]
    for (low, high), *parts in zip(whole, *ranks, strict=True):
        together = [torch.stack([part[k] for part in parts], 1).flatten(0, 1) for k in (0, 1)]
        assert torch.equal(together[0], low[: len(together[0])]) and torch.equal(together[1], high[: len(together[0])])


def test_two_test_images_of_one_name_are_an_error(tmp_path):
    for folder in ("a/set", "b/set"):
        write_images(tmp_path / folder, 1)
    sources = Sources(2, 1, 8, 10, None, (tmp_path / "a/set", tmp_path / "b/set"))
    with pytest.raises(DatasetError, match="two images named set/0"):
        load_photographs(sources)


def test_a_folder_gives_every_kind_of_image_and_names_what_it_skips(tmp_path, capsys):
    folder = write_images(tmp_path / "images")
    grey = np.asarray(Image.open(folder / "0.png").convert("L"))
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "wide.png")
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:500])
    (folder / "notes.txt").write_text("no image")
    found = {original.name: original.rgb for original in read_folder(folder)}
    assert list(found) == ["0", "1", "grey", "wide"] and all(rgb.shape == (3, 60, 300) for rgb in found.values())
    assert np.array_equal(found["grey"], found["wide"]) and np.array_equal(found["grey"][0], grey)
    assert "broken.png" in capsys.readouterr().err
    with pytest.raises(DatasetError, match=r"broken\.png.*--strict"):
        read_folder(folder, strict=True)


def test_images_too_small_for_a_patch_are_named_and_skipped(tmp_path, capsys):
    folder = write_images(tmp_path / "images")
    Image.new("RGB", (40, 40)).save(folder / "small.png")
    Image.new("RGB", (81, 48)).save(folder / "smallest.png")  # 65 for patches of 48, 16 for validation
    splits = load_photographs(Sources(2, 1, 24, 10, folder, (folder,)))
    assert len(splits.originals["train"]) == 3 and len(splits.originals["test"]) == 4
    next(iter(splits.loader("train", 10)))
    assert [quality(high[0].numpy(), high[0].numpy(), 2)[1] for _, high in splits.loader("val", 1)] == [1, 1, 1]
    assert "small: 40 x 40 pixels; allowed are at least 78 x 48" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="small: 40 x 40"):
        load_photographs(Sources(2, 1, 24, 10, folder, (), strict=True))
    with pytest.raises(DatasetError, match="no image is large enough for a patch_size of 200"):
        load_photographs(Sources(2, 1, 200, 10, folder))


def test_test_images_too_small_for_the_metrics_are_named_and_skipped(tmp_path, capsys):
    folder, tests = write_images(tmp_path / "images"), write_images(tmp_path / "tests", 1, 60, 60)
    Image.new("RGB", (40, 15)).save(tests / "thin.png")
    Image.new("RGB", (16, 16)).save(tests / "smallest.png")
    splits = load_photographs(Sources(2, 1, 4, 10, folder, (tests,)))
    assert [original.name for original in splits.originals["test"]] == ["tests/0", "tests/smallest"]
    assert "tests/thin: 40 x 15 pixels; allowed are at least 16 x 16, for SSIM at scale 2" in capsys.readouterr().err
    for _, high in splits.loader("test", 1):
        assert quality(high[0].numpy(), high[0].numpy(), 2) == (100.0, 1.0)
    with pytest.raises(DatasetError, match="thin: 40 x 15"):
        load_photographs(Sources(2, 1, 4, 10, folder, (tests,), strict=True))
    (tests / "0.png").unlink()
    (tests / "smallest.png").unlink()
    with pytest.raises(DatasetError, match="no image is large enough; use images of at least 16 x 16"):
        load_photographs(Sources(2, 1, 4, 10, folder, (tests,)))


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_images_is_an_error_that_says_so(name, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=f"{name}' (is no folder|holds no image)"):
        read_folder(tmp_path / name)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid(name, tmp_path):
    check(Settings(RECIPES[name], tmp_path), TASK)


def test_all_problems_of_a_config_are_reported_at_once(tmp_path, capsys):
    config = {**RECIPES["espcn_float"], "loss": "l3", "channels": 2, "patch_size": 0}
    (tmp_path / "c.json").write_text(json.dumps(config))
    assert main(["--config", str(tmp_path / "c.json"), "--log-dir", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    for text in ('loss: received "l3"; allowed: one of "l1", "mse"', "channels: received 2", "patch_size: received 0"):
        assert text in shown


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """An ESPCN of 2-bit weights and 8-bit activations, searched for two epochs by the command, and its folder."""
    folder = tmp_path_factory.mktemp("espcn")
    images = write_images(folder / "images")
    config = {**RECIPES["espcn_w2a8"], "patches": 64, "epochs": 2}
    config["compression"][1]["initializer"]["range"]["num_init_samples"] = 16
    (folder / "c.json").write_text(json.dumps(config))
    arguments = ["--config", str(folder / "c.json"), "--data", str(images), "--test-data", str(images)]
    run = [*arguments, "--log-dir", str(folder / "run"), "--device", "cpu", "--mode", "train", "test", "export"]
    assert main(run) == 0
    settings = Settings({**config, "test_data": [str(images)]}, folder / "again", images, None, folder / "run/last.pth")
    return folder, SuperResolution(settings)


def test_an_exported_network_takes_images_of_any_size_and_gives_what_pytorch_gives(searched):
    folder, trainer = searched
    network = ov.compile_model(folder / "run/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for height, width in ((20, 31), (44, 17)):
        image = torch.rand(1, 1, height, width)
        with torch.no_grad():
            expected = trainer.model.eval()(image).numpy()
        ours = network([image.numpy()])[0]
        assert ours.shape == (1, 1, 2 * height, 2 * width)
        assert np.median(np.abs(ours - expected)) < 1e-5 and np.abs(ours - expected).max() < 0.05  # one 8-bit level


def test_the_quantized_input_holds_every_8_bit_code(searched):
    _, trainer = searched
    (quantizer,) = [m for name, m in trainer.model.named_modules() if name.endswith("nncf_model_input_0|OUTPUT")]
    codes = torch.arange(256.0).view(1, 1, 16, 16) / 255
    torch.testing.assert_close(quantizer(codes), codes, rtol=0, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in quantizer.parameters())


def test_low_bit_layers_run_in_int8(searched):
    inspection = nncf_slb.inspect_openvino(searched[0] / "run/model.xml", shape=[1, 1, 32, 32])
    (layer,) = [layer for layer in inspection.layers if layer.searched]
    assert layer.precision in ("i8", "u8") and layer.stored == "u2"


def test_a_large_photo_in_tiles_equals_the_whole(searched, tmp_path):
    folder, _ = searched
    Image.fromarray(photograph(150, 171).rgb.transpose(1, 2, 0)).save(tmp_path / "photo.png")
    for name, tile in (("whole", None), ("tiles", 40)):
        result = tmp_path / f"{name}.png"
        nncf_slb.upscale_image(tmp_path / "photo.png", folder / "run/model.xml", result, tile=tile, overlap=8)
    whole, tiles = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("whole", "tiles"))
    assert whole.shape == (300, 342, 3) and np.abs(whole - tiles).max() <= 1


def test_the_report_measures_the_ir_as_the_trainer_measures_the_network(searched):
    folder, trainer = searched
    pairs = [make_pair(original, 2, 1) for original in trainer.splits.originals["test"]]
    ours = in_openvino(folder / "run/model.xml", pairs, 2)
    expected = trainer.qualities(trainer.test_batches())
    assert list(ours) == ["images/0", "images/1"]
    assert [psnr for psnr, _ in ours.values()] == pytest.approx([psnr for psnr, _ in expected], abs=0.02)
    assert bicubic(pairs, 2).mean[0] > 20


def test_a_crop_sheet_shows_every_network_beside_bicubic_and_the_original(searched, tmp_path):
    folder, trainer = searched
    networks = [("W2A8", folder / "run/model.xml")]
    sheet = crop_sheet(trainer.splits.originals["test"], networks, 2, tmp_path / "s.png", [Crop("images/0", 4, 8, 48)])
    image = np.asarray(Image.open(sheet))
    assert image.shape == (8 + 240 + 18 + 8, 3 * 248 + 8, 3)
    truth = trainer.splits.originals["test"][0].rgb[:, 4:52, 8:56].transpose(1, 2, 0)
    assert np.array_equal(image[8:248:5, 8 + 2 * 248 : 248 + 2 * 248 : 5], truth)
    centres = crop_sheet(trainer.splits.originals["test"], networks, 2, tmp_path / "c.png")
    image = np.asarray(Image.open(centres))
    truth = trainer.splits.originals["test"][1].rgb[:, :, 120:180].transpose(1, 2, 0)
    assert np.array_equal(image[274 : 274 + 240 : 4, 8 + 2 * 248 : 248 + 2 * 248 : 4], truth)


def test_every_set_of_test_images_has_its_mean_beside_bicubic(searched, tmp_path, capsys):
    folder, _ = searched
    other = write_images(tmp_path / "other", 1, 40, 60)
    run = ["--config", str(folder / "c.json"), "--data", str(folder / "images"), "--device", "cpu", "--mode", "test"]
    sets = ["--test-data", str(folder / "images"), str(other), "--resume", str(folder / "run/last.pth")]
    assert main([*run, *sets, "--log-dir", str(tmp_path / "log")]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("bicubic", "espcn", "images", "other"))
    header, _, bicubic_row, network = (tmp_path / "log/test.md").read_text().splitlines()[2:6]
    assert header == "| network | PSNR / SSIM, mean | images | other | images/0 | images/1 | other/0 |"
    psnr = [[float(cell.split("/")[0]) for cell in row.split("|")[2:-1]] for row in (bicubic_row, network)]
    for mean, first, second, *images in psnr:
        assert mean == pytest.approx(np.mean(images), abs=0.01) and second == images[2]
        assert first == pytest.approx(np.mean(images[:2]), abs=0.01)
    assert psnr[0] != psnr[1]


def test_a_table_of_many_images_has_one_row_for_each():
    found = {f"set/{index}": (30.0 + index, 0.9) for index in range(10)}
    first, second = Report("", [Row("bicubic", found), Row("ours", found)]).markdown().split("\n\n")
    assert first.splitlines()[0] == "| network | PSNR / SSIM, mean |"
    assert second.splitlines()[::11] == ["| image | bicubic | ours |", "| set/9 | 39.00 / 0.9000 | 39.00 / 0.9000 |"]
