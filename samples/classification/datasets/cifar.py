"""CIFAR-10 and CIFAR-100 from their python archives, read without running anything that stands in them."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from samples.classification.datasets.arrays import Splits, check_part, make_splits, random_crop_and_flip
from samples.training.data import DatasetError


def _reconstruct_array(kind: type[np.ndarray], shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """Empty array that the pickle's state then fills; stands in for NumPy's private function of the same job."""
    return np.ndarray.__new__(kind, shape, code)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles dicts, lists, bytes and NumPy arrays, and refuses every other class or function."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct_array
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            import codecs

            return codecs.encode
        raise pickle.UnpicklingError(f"holds {module}.{name}, which does not belong into CIFAR")


def _read_archive(data: Path | None, name: str, members: dict[str, str], key: bytes, classes: int) -> Splits:
    """Splits of an archive whose `members` map file name to part."""
    if data is None:
        raise DatasetError(f"data: received nothing; give --data the folder or file of {name}")
    path = data / name if data.is_dir() else data
    try:
        batches = dict(_batches(path, members, key))
    except FileNotFoundError:
        raise DatasetError(f"data: '{path}' is missing; give --data the folder or file of {name}") from None
    except Exception as error:  # damaged bytes make the readers fail in any way
        reason = " ".join(str(error).split())
        raise DatasetError(f"data: '{path}' is not CIFAR's python archive ({reason}); copy it anew") from None
    if missing := sorted(set(members) - set(batches)):
        raise DatasetError(f"data: '{path}' holds no {' and no '.join(missing)}; copy it anew")
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for member, part in members.items():
        images, labels = batches[member]
        check_part(f"'{path}', {member}", images, labels, (3072,), classes)
        parts.setdefault(part, []).append((images.reshape(-1, 3, 32, 32), labels))
    train, test = (tuple(map(np.concatenate, zip(*parts[part], strict=True))) for part in ("train", "test"))
    return make_splits(train, test, random_crop_and_flip, classes, f"'{path}'")


def _batches(path: Path, members: dict[str, str], key: bytes) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            name = Path(member.name).name
            content = archive.extractfile(member) if name in members else None
            if content:
                batch = _ArraysOnly(io.BytesIO(content.read()), encoding="bytes").load()
                yield name, (np.asarray(batch[b"data"]), np.asarray(batch[key]))


def load_cifar10(data: Path | None) -> Splits:
    """CIFAR-10 from ``cifar-10-python.tar.gz``."""
    members = {**{f"data_batch_{k}": "train" for k in range(1, 6)}, "test_batch": "test"}
    return _read_archive(data, "cifar-10-python.tar.gz", members, b"labels", 10)


def load_cifar100(data: Path | None) -> Splits:
    """CIFAR-100 (fine labels) from ``cifar-100-python.tar.gz``."""
    return _read_archive(data, "cifar-100-python.tar.gz", {"train": "train", "test": "test"}, b"fine_labels", 100)
