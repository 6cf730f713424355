"""Data sets that fit in memory: splits, normalisation, augmentation and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samples.training.data import Batches, DatasetError

Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass
class Splits:
    """Makers of batches for the three parts; `loader(part, ...)` with part ``train``, ``val`` or ``test``."""

    loader: Callable[..., Any]
    num_classes: int
    image_shape: tuple[int, int, int]


class ArrayBatches:
    """Batches of arrays in memory, shuffled and augmented by (seed, epoch) alone, so that resumed runs repeat them.

    Args:
        images: Float tensor ``[count, channels, height, width]``.
        labels: int64 tensor ``[count]``.
        batch_size: Images in a batch.
        shuffle: Shuffle anew each epoch.
        augment: Random change of a batch.
        seed: Seed of shuffling and augmentation.
        rank: This process, of `world`.
        world: Processes that share each epoch where it is shuffled: their k-th batches together are the k-th one of a
            process alone with batches `world` times as large.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, batch_size: int, shuffle: bool = False, augment: Augment | None = None,
        seed: int = 0, rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        self.images, self.labels, self.batch_size = images, labels, batch_size
        self._shuffle, self._augment, self._seed = shuffle, augment, seed
        self._rank, self._world, self._epoch = rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffling of an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        share = len(self.labels) // self._world if self._shuffle else len(self.labels)
        return -(-share // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.rest(0)

    def rest(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches from a zero-based one on."""
        generator = torch.Generator().manual_seed(self._seed * 100_003 + self._epoch)
        order, world = torch.arange(len(self.labels)), 1
        if self._shuffle:
            world = self._world
            order = order[torch.randperm(len(order), generator=generator)][: len(order) // world * world]
        for index, together in enumerate(order.split(self.batch_size * world)):
            images = self.images[together]
            if self._augment:  # also of skipped batches and for other processes, which takes as many random numbers
                images = self._augment(images, generator)
            if index >= start:
                yield images[self._rank % world :: world], self.labels[together][self._rank % world :: world]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images."""
    flip = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(flip, images.flip(3), images)


def random_crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to 4 pixels, zeros at the borders, and mirror half of them."""
    size = images.shape[-2:]
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    shifts = torch.randint(0, 9, (len(images), 2), generator=generator)
    rows = (shifts[:, :1] + torch.arange(size[0]))[:, None, :, None]
    columns = (shifts[:, 1:] + torch.arange(size[1]))[:, None, None, :]
    index = torch.arange(len(images))[:, None, None, None]
    channels = torch.arange(images.shape[1])[None, :, None, None]
    return random_flip(padded[index, channels, rows, columns], generator)


def split_validation(labels: np.ndarray, fraction: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Indices of (training, validation), `fraction` of each class for validation.

    The same for every run: a network that another run trained must not have seen the images that validate this one.
    """
    generator = np.random.default_rng(0)
    held = [generator.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    validation = np.sort(np.concatenate([h[: max(1, round(len(h) * fraction))] for h in held]))
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def check_part(source: str, images: Any, labels: Any, shape: tuple[int, ...], classes: int) -> None:
    """Refuse images and labels that do not belong together.

    Args:
        source: The file or files, for the message.
        images: To be uint8, ``[count, *shape]``.
        labels: To be integers from 0 to below `classes`, ``[count]``.
        shape: Shape of an image.
        classes: Number of classes.

    Raises:
        DatasetError: If they are anything else.
    """

    def refuse(received: str, allowed: str) -> None:
        raise DatasetError(f"data: {source}: received {received}; allowed: {allowed}. Copy it anew")

    if images.dtype != np.uint8 or images.shape[1:] != shape:
        refuse(f"images {images.dtype} {list(images.shape)}", f"uint8 [images, {', '.join(map(str, shape))}]")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        refuse(f"labels {labels.dtype} {list(labels.shape)}", "integers [images]")
    if len(images) != len(labels) or not len(images):
        refuse(f"{len(images)} images and {len(labels)} labels", "as many, and at least 1")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = sorted({int(label) for label in labels if not 0 <= label < classes})
        refuse(f"the labels {', '.join(map(str, wrong[:5]))}", f"0 to {classes - 1}")


def make_splits(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    augment: Augment | None,
    classes: int,
    source: str,
) -> Splits:
    """Splits, normalised by the training part's statistics.

    Args:
        train: Images ``[count, channels, height, width]`` and labels ``[count]``.
        test: The same of the test part.
        augment: Random change of a training batch.
        classes: Number of classes.
        source: The file or folder, for messages.

    Raises:
        DatasetError: If nothing is left to train on, or all pixels are alike.
    """
    kept, validation = split_validation(train[1])
    if not len(kept):
        raise DatasetError(
            f"data: {source}: received {len(train[1])} training images, which are all needed for validation; allowed: "
            "at least 2 of a class. Use more images"
        )
    parts = {
        "train": (train[0][kept], train[1][kept]),
        "val": (train[0][validation], train[1][validation]),
        "test": test,
    }
    own = parts["train"][0].astype(np.float32)
    mean, std = own.mean((0, 2, 3), keepdims=True), own.std((0, 2, 3), keepdims=True)
    if not std.all():
        raise DatasetError(f"data: {source}: all pixels of the training images are alike; copy it anew")
    tensors = {
        name: (torch.from_numpy((x.astype(np.float32) - mean) / std), torch.from_numpy(y.astype(np.int64)))
        for name, (x, y) in parts.items()
    }

    def loader(part: str, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1, workers: int = 0) -> Batches:
        training = part == "train"
        images, labels = tensors[part]
        return ArrayBatches(images, labels, batch_size, training, augment if training else None, seed, rank, world)

    return Splits(loader, classes, tuple(train[0].shape[1:]))
