"""Loaders on tiny made-up archives in the real formats."""

import gzip
import io
import pickle
import re
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


def test_order_depends_on_seed_and_epoch_alone_and_processes_share_it():
    x, y = torch.arange(40.0).view(40, 1, 1, 1), torch.arange(40)
    batches = ArrayBatches(x, y, 7, shuffle=True, seed=1)
    first = torch.cat([labels for _, labels in batches])
    assert torch.equal(first, torch.cat([labels for _, labels in batches]))
    batches.set_epoch(1)
    assert not torch.equal(first, torch.cat([labels for _, labels in batches]))
    shares = [torch.cat([b for _, b in ArrayBatches(x, y, 7, True, seed=1, rank=r, world=2)]) for r in (0, 1)]
    assert torch.equal(torch.cat(shares), first)


def test_random_crop_shifts_by_at_most_four_pixels():
    images = torch.zeros(64, 1, 12, 12)
    images[:, :, 6, 6] = 1
    moved = random_crop_and_flip(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape and torch.equal(moved.sum((1, 2, 3)), torch.ones(64))
    rows = moved.amax((1, 3)).argmax(1)
    assert rows.min() == 2 and rows.max() == 10
