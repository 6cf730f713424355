"""Loaders on tiny made-up archives in the real formats."""

import gzip
import io
import pickle
import re
import shutil
import struct
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from samples.classification.datasets import DATASETS, DatasetError
from samples.classification.datasets.arrays import ArrayBatches, random_crop_and_flip


def write_cifar10(path, payload=None):
    generator = np.random.default_rng(0)
    with tarfile.open(path, "w:gz") as archive:
        for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
            batch = {
                b"data": generator.integers(0, 256, (20, 3072), dtype=np.uint8),
                b"labels": [k % 10 for k in range(20)],
            }
            content = pickle.dumps(payload or batch, protocol=2)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_cifar100(path):
    with tarfile.open(path, "w:gz") as archive:
        for name, count in (("train", 300), ("test", 20)):
            batch = {b"data": np.random.default_rng(1).integers(0, 256, (count, 3072), dtype=np.uint8)}
            content = pickle.dumps({**batch, b"fine_labels": [k % 100 for k in range(count)]}, protocol=2)
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_idx(path, array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def write_fashion(folder):
    for name, count in (("train", 50), ("t10k", 20)):
        images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)


def write_imagenet(folder):
    for part in ("train", "val"):
        for name in ("n01", "n02"):
            (folder / part / name).mkdir(parents=True)
            for k in range(3):
                pixels = np.random.default_rng(k).integers(0, 256, (40, 50 + k, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{k}.JPEG")


@pytest.mark.parametrize(
    ("name", "write", "file", "classes", "shape", "test_count"),
    [
        ("cifar10", write_cifar10, "cifar-10-python.tar.gz", 10, (3, 32, 32), 20),
        ("cifar100", write_cifar100, "cifar-100-python.tar.gz", 100, (3, 32, 32), 20),
        ("fashion_mnist", write_fashion, "", 10, (1, 28, 28), 20),
        ("imagenet", write_imagenet, "", 2, (3, 224, 224), 6),
    ],
)
def test_archives_are_read(name, write, file, classes, shape, test_count, tmp_path):
    write(tmp_path / file if file else tmp_path)
    splits = DATASETS[name](tmp_path)
    assert (splits.num_classes, splits.image_shape) == (classes, shape)
    images, labels = next(iter(splits.loader("test", 100)))
    assert images.shape == (test_count, *shape) and labels.dtype == torch.int64
    train = sum(len(y) for _, y in splits.loader("train", 4))
    held = sum(len(y) for _, y in splits.loader("val", 4))
    assert held > 0 and train > held


def test_digits_parts_do_not_overlap_and_cover_everything():
    splits = DATASETS["digits"](None)
    parts = [torch.cat([x for x, _ in splits.loader(part, 100)]) for part in ("train", "val", "test")]
    assert sum(len(p) for p in parts) == 1797
    assert abs(float(parts[0].mean())) < 1e-3 and float(parts[0].std()) == pytest.approx(1, abs=1e-2)


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


def test_code_in_an_archive_is_refused_and_does_not_run(tmp_path, capsys):
    write_cifar10(tmp_path / "cifar-10-python.tar.gz", {b"data": Evil(), b"labels": []})
    with pytest.raises(DatasetError, match=r"holds __builtin__\.print|holds builtins\.print"):
        DATASETS["cifar10"](tmp_path)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist", "imagenet"])
def test_missing_data_is_an_error_that_names_the_remedy(name, tmp_path):
    with pytest.raises(DatasetError, match="--data"):
        DATASETS[name](tmp_path)


def test_broken_files_are_errors_that_name_them(tmp_path):
    write_fashion(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte\.gz' is broken"):
        DATASETS["fashion_mnist"](tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"not a tar")
    with pytest.raises(DatasetError, match="not CIFAR's python archive"):
        DATASETS["cifar10"](tmp_path)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist"])
def test_a_changed_byte_is_an_error_that_names_the_file(name, place, tmp_path):
    write_fashion(tmp_path)
    write_cifar10(tmp_path / "cifar-10-python.tar.gz")
    path = tmp_path / {"cifar10": "cifar-10-python.tar.gz", "fashion_mnist": "t10k-images-idx3-ubyte.gz"}[name]
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=re.escape(str(path))):
        DATASETS[name](tmp_path)


def test_a_damaged_image_of_imagenet_is_an_error_that_names_it(tmp_path):
    write_imagenet(tmp_path)
    (tmp_path / "val/n02/1.JPEG").write_bytes((tmp_path / "val/n02/1.JPEG").read_bytes()[:300])
    with pytest.raises(DatasetError, match=r"val/n02/1\.JPEG' is damaged"):
        list(DATASETS["imagenet"](tmp_path).loader("test", 4))


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
FASHION = {
    "more labels": ({LABELS: np.zeros(51)}, "50 images and 51 labels"),
    "fewer labels": ({LABELS: np.zeros(49)}, "50 images and 49 labels"),
    "labels beyond the classes": ({LABELS: np.r_[np.zeros(48), 99, 255]}, "the labels 99, 255; allowed: 0 to 9"),
    "labels of images": ({LABELS: np.zeros((50, 28, 28))}, "labels uint8 [50, 28, 28]"),
    "images of labels": ({IMAGES: np.zeros(50)}, "images uint8 [50]"),
    "flat images": ({IMAGES: np.zeros((50, 784))}, "images uint8 [50, 784]"),
    "small images": ({IMAGES: np.zeros((50, 27, 28))}, "images uint8 [50, 27, 28]"),
    "nothing": ({IMAGES: np.zeros((0, 28, 28)), LABELS: np.zeros(0)}, "0 images and 0 labels"),
    "one image": ({IMAGES: np.ones((1, 28, 28)), LABELS: np.zeros(1)}, "received 1 training images"),
    "one image of each class": ({IMAGES: np.ones((10, 28, 28)), LABELS: np.arange(10)}, "10 training images"),
    "black images": ({IMAGES: np.zeros((50, 28, 28))}, "all pixels of the training images are alike"),
}


@pytest.mark.parametrize("name", FASHION)
def test_idx_files_that_do_not_belong_together_are_named(name, tmp_path):
    write_fashion(tmp_path)
    files, reason = FASHION[name]
    for file, array in files.items():
        write_idx(tmp_path / file, array.astype(np.uint8))
    with pytest.raises(DatasetError, match=re.escape(reason)) as refused:
        DATASETS["fashion_mnist"](tmp_path)
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


def test_idx_of_other_numbers_is_an_error_that_names_the_file(tmp_path):
    write_fashion(tmp_path)
    header = struct.pack(">HBB", 0, 13, 1) + struct.pack(">I", 50)  # floats
    (tmp_path / LABELS).write_bytes(gzip.compress(header + np.zeros(50, ">f4").tobytes()))
    with pytest.raises(DatasetError, match=rf"{LABELS}' is broken"):
        DATASETS["fashion_mnist"](tmp_path)


PIXELS = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)
CIFAR = {
    "more labels": ({b"labels": [0] * 21}, "20 images and 21 labels"),
    "fewer labels": ({b"labels": [0] * 19}, "20 images and 19 labels"),
    "labels beyond the classes": ({b"labels": [0] * 18 + [99, 255]}, "the labels 99, 255; allowed: 0 to 9"),
    "negative labels": ({b"labels": [0] * 19 + [-1]}, "the labels -1"),
    "labels are fractions": ({b"labels": [0.5] * 20}, "labels float64 [20]"),
    "nested labels": ({b"labels": [[0]] * 20}, "labels int64 [20, 1]"),
    "images of floats": ({b"data": PIXELS.astype(np.float32)}, "images float32 [20, 3072]"),
    "small images": ({b"data": PIXELS[:, :3000]}, "images uint8 [20, 3000]"),
    "flat images": ({b"data": PIXELS.ravel()}, "images uint8 [61440]"),
    "nothing": ({b"labels": []}, "labels float64 [0]"),
    "no labels": ({b"labels": None}, "labels object []"),
}


@pytest.mark.parametrize("name", CIFAR)
def test_batches_of_cifar_that_do_not_fit_are_named(name, tmp_path):
    changes, reason = CIFAR[name]
    write_cifar10(tmp_path / "cifar-10-python.tar.gz", {b"data": PIXELS, b"labels": [0] * 20, **changes})
    with pytest.raises(DatasetError, match=re.escape(f"data_batch_1: received {reason}")) as refused:
        DATASETS["cifar10"](tmp_path)
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


def test_an_archive_of_the_other_cifar_is_an_error_that_names_what_is_missing(tmp_path):
    write_cifar100(tmp_path / "cifar-10-python.tar.gz")
    with pytest.raises(DatasetError, match="holds no data_batch_1 and no data_batch_2"):
        DATASETS["cifar10"](tmp_path)


def remove(folder):
    for path in folder.iterdir():
        path.unlink()


IMAGENET = {
    "empty class": (lambda data: remove(data / "train/n02"), "train/n02' holds 0 images"),
    "class of one image": (lambda data: [(data / f"train/n02/{k}.JPEG").unlink() for k in (0, 1)], "n02' holds 1 im"),
    "no test images of a class": (lambda data: remove(data / "val/n01"), "val/n01' holds 0 images"),
    "test images of an unknown class": (lambda data: (data / "val/n03").mkdir(), "val/n03' is of a class that"),
    "no classes": (lambda data: shutil.rmtree(data / "train") or (data / "train").mkdir(), "holds no images"),
}


@pytest.mark.parametrize("name", IMAGENET)
def test_folders_of_imagenet_that_do_not_fit_are_named(name, tmp_path):
    write_imagenet(tmp_path)
    damage, reason = IMAGENET[name]
    damage(tmp_path)
    with pytest.raises(DatasetError, match=reason):
        DATASETS["imagenet"](tmp_path)


def test_a_damaged_image_that_a_worker_meets_is_one_line(tmp_path, capsys):
    write_imagenet(tmp_path)
    (tmp_path / "val/n02/1.JPEG").write_bytes(b"no image")
    (tmp_path / "val/n02/2.JPEG").unlink()
    (tmp_path / "val/n02/2.JPEG").mkdir()
    with pytest.raises(DatasetError) as refused:
        list(DATASETS["imagenet"](tmp_path).loader("test", 4, workers=1))
    assert f"{tmp_path}/val/n02/1.JPEG' is damaged" in str(refused.value) and "\n" not in str(refused.value)


def test_processes_share_batches_and_interrupted_epochs_have_a_rest(tmp_path):
    write_cifar10(tmp_path / "cifar-10-python.tar.gz")
    write_imagenet(tmp_path)
    for name in ("cifar10", "imagenet"):
        splits = DATASETS[name](tmp_path)
        alone = splits.loader("train", 2, seed=3)
        alone.set_epoch(2)
        whole = list(alone)
        assert len(whole) == len(alone) > 1
        for batch, expected in zip(alone.rest(1), whole[1:], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(batch, expected, strict=True))
        ranks = [splits.loader("train", 1, seed=3, rank=rank, world=2) for rank in (0, 1)]
        for each in ranks:
            each.set_epoch(2)
        for (images, labels), *parts in zip(whole, *ranks, strict=True):
            together = [torch.stack([part[k] for part in parts], 1).flatten(0, 1) for k in (0, 1)]
            count = len(together[1])  # of the last batch, what the number of processes divides
            assert torch.equal(together[0], images[:count]) and torch.equal(together[1], labels[:count])


def test_order_depends_on_seed_and_epoch_alone_and_processes_share_it():
    x, y = torch.arange(40.0).view(40, 1, 1, 1), torch.arange(40)
    batches = ArrayBatches(x, y, 7, shuffle=True, seed=1)
    first = torch.cat([labels for _, labels in batches])
    assert torch.equal(first, torch.cat([labels for _, labels in batches]))
    batches.set_epoch(1)
    assert not torch.equal(first, torch.cat([labels for _, labels in batches]))
    shares = [torch.cat([b for _, b in ArrayBatches(x, y, 7, True, seed=1, rank=r, world=2)]) for r in (0, 1)]
    assert torch.equal(torch.stack(shares, 1).flatten(), first)


def test_random_crop_shifts_by_at_most_four_pixels():
    images = torch.zeros(64, 1, 12, 12)
    images[:, :, 6, 6] = 1
    moved = random_crop_and_flip(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape and torch.equal(moved.sum((1, 2, 3)), torch.ones(64))
    rows = moved.amax((1, 3)).argmax(1)
    assert rows.min() == 2 and rows.max() == 10
