"""ImageNet as folders: ``train/<class>/*`` and ``val/<class>/*``; the ``val`` images are the test part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from samples.classification.datasets.arrays import Splits, split_validation
from samples.training.data import DatasetError
from samples.training.interruption import left_to_parent

SUFFIXES = {".jpeg", ".jpg", ".png"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Sample = tuple[Path, int]


def find_images(folder: Path, classes: list[str], least: int) -> list[Sample]:
    """Images below each class's folder, in order of their names.

    Args:
        folder: Holds one folder for each class.
        classes: Names of the classes.
        least: Images that each class must have.

    Raises:
        DatasetError: If there are no classes, or fewer images of one, naming its folder; or folders of other classes.
    """
    if not classes:
        raise DatasetError(f"data: '{folder}' holds no images; it must hold one folder for each class")
    found: list[Sample] = []
    for label, name in enumerate(classes):
        own = [path for path in sorted((folder / name).glob("*")) if path.suffix.lower() in SUFFIXES]
        if len(own) < least:
            raise DatasetError(
                f"data: '{folder / name}' holds {len(own)} images; allowed: at least {least} that end in "
                f"{', '.join(sorted(SUFFIXES))}. Add some, or remove the class from train/ and val/"
            )
        found += [(path, label) for path in own]
    if others := sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in classes):
        raise DatasetError(f"data: '{folder / others[0]}' is of a class that train/ does not have; remove it")
    return found


class Images(Dataset[tuple[Tensor, int] | DatasetError]):
    """Decoded, cropped to 224 x 224 and normalised images; random crops depend on (seed, epoch, index) alone.

    A file that cannot be read gives an error in place of its image.
    """

    def __init__(self, samples: list[Sample], training: bool, seed: int) -> None:
        self.samples, self.training, self.seed, self.epoch = samples, training, seed, 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int] | DatasetError:
        path, label = self.samples[index]
        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
        except Exception as error:  # damaged bytes make Pillow's decoders fail in any way
            return DatasetError(f"data: '{path}' is damaged or no image ({' '.join(str(error).split())}); copy it anew")
        generator = np.random.default_rng([self.seed, self.epoch, index])
        image = _random_crop(image, generator) if self.training else _centre_crop(image)
        array = (np.asarray(image, np.float32) / 255 - MEAN) / STD
        return torch.from_numpy(array.astype(np.float32).transpose(2, 0, 1).copy()), label


def _centre_crop(image: Image.Image) -> Image.Image:
    factor = 256 / min(image.size)
    resized = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BILINEAR)
    left, top = (resized.width - 224) // 2, (resized.height - 224) // 2
    return resized.crop((left, top, left + 224, top + 224))


def _random_crop(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    for _ in range(10):
        area = image.width * image.height * generator.uniform(0.08, 1.0)
        ratio = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
        width, height = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < width <= image.width and 0 < height <= image.height:
            break
    else:
        width = height = min(image.size)
    left = int(generator.integers(0, image.width - width + 1))
    top = int(generator.integers(0, image.height - height + 1))
    box = (left, top, left + width, top + height)
    cropped = image.resize((224, 224), Image.Resampling.BILINEAR, box=box)
    return cropped.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else cropped


class ImageBatches:
    """`torch.utils.data.DataLoader` whose order depends on (seed, epoch) alone.

    The k-th batches of all processes together are the k-th one of a process alone with batches as large as these.
    """

    def __init__(self, images: Images, batch_size: int, seed: int, rank: int, world: int, workers: int) -> None:
        self._images, self.batch_size, self._seed = images, batch_size, seed
        self._rank, self._world, self._workers = rank, world, workers

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffling and cropping of an epoch."""
        self._images.epoch = epoch

    def __len__(self) -> int:
        return len(self._batches())

    def _batches(self) -> list[list[int]]:
        """Indices of the images of each batch."""
        order, world = torch.arange(len(self._images)), 1
        if self._images.training:
            world = self._world
            generator = torch.Generator().manual_seed(self._seed * 100_003 + self._images.epoch)
            order = torch.randperm(len(order), generator=generator)[: len(order) // world * world]
        return [each[self._rank % world :: world].tolist() for each in order.split(self.batch_size * world)]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.rest(0)

    def rest(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches from a zero-based one on.

        Raises:
            DatasetError: On a file that cannot be read, also one met by a worker.
        """
        loader: DataLoader[Any] = DataLoader(
            self._images, batch_sampler=self._batches()[start:], num_workers=self._workers, collate_fn=_batch_or_error,
            worker_init_fn=left_to_parent,
        )  # fmt: skip
        try:
            for batch in loader:
                if isinstance(batch, DatasetError):
                    raise batch
                yield batch
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            reason = str(error).split("\n")[0]
            raise DatasetError(f"workers: a process that loads images has ended ({reason}); use fewer, or 0") from None


def _batch_or_error(samples: list[Any]) -> Any:
    """Samples as a batch; a worker hands on errors as values, since torch would make its traceback their message."""
    found = next((sample for sample in samples if isinstance(sample, DatasetError)), None)
    return default_collate(samples) if found is None else found


def load_imagenet(data: Path | None) -> Splits:
    """A tenth of each class's training images is cut off for validation."""
    if data is None or not (data / "train").is_dir() or not (data / "val").is_dir():
        raise DatasetError(f"data: received '{data}'; give --data a folder that holds train/ and val/")
    classes = sorted(folder.name for folder in (data / "train").iterdir() if folder.is_dir())
    images = find_images(data / "train", classes, 2)  # one of them validates
    test = find_images(data / "val", classes, 1)
    kept, held = split_validation(np.array([label for _, label in images]))
    parts = {"train": [images[i] for i in kept], "val": [images[i] for i in held], "test": test}

    def loader(
        part: str, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1, workers: int = 0
    ) -> ImageBatches:
        return ImageBatches(Images(parts[part], part == "train", seed), batch_size, seed, rank, world, workers)

    return Splits(loader, len(classes), (3, 224, 224))
