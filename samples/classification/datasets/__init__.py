"""Data sets by the name that a config's ``dataset`` takes: functions of the data folder to `Splits`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from samples.classification.datasets.arrays import Splits
from samples.classification.datasets.cifar import load_cifar10, load_cifar100
from samples.classification.datasets.digits import load_digits_splits
from samples.classification.datasets.fashion_mnist import load_fashion_mnist
from samples.classification.datasets.imagenet import load_imagenet
from samples.training.data import DatasetError

DATASETS: dict[str, Callable[[Path | None], Splits]] = {
    "digits": load_digits_splits,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "imagenet": load_imagenet,
}

__all__ = ["DATASETS", "DatasetError", "Splits"]
