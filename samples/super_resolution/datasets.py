"""Photographs to train, validate and test on: those that installed packages bring, or folders of images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nncf_slb.photos.images import ImageError, read_photo
from samples.super_resolution.batches import ImageBatches, PatchBatches
from samples.super_resolution.metrics import smallest_side
from samples.super_resolution.pairs import Codes, Original, make_pair, to_codes
from samples.training.data import Batches, DatasetError

# Photographs inside scikit-image (`skimage.data`) and scikit-learn, by the part that they are for.
TRAINING = (
    "stereo_motorcycle", "rocket", "hubble_deep_field", "camera", "coins", "brick", "grass", "gravel", "moon",
    "immunohistochemistry", "retina", "china.jpg",
)  # fmt: skip
TEST = ("astronaut", "chelsea", "coffee", "flower.jpg")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
# The right-hand fifth of each training image is for validation; of large folders, that of the first images only.
_FOR_VALIDATION = 0.2
_VALIDATION_IMAGES = 100


@dataclass(frozen=True)
class Sources:
    """Where images come from and what networks get of them.

    Attributes:
        scale: Factor between low and high resolution.
        channels: 1 for Y, 3 for RGB.
        patch_size: Height and width of a training patch in low resolution.
        patches: Training patches in an epoch.
        folder: Folder of training images; photographs of installed packages where there is none.
        test_folders: Folders of test images; other photographs of installed packages where there are none.
        strict: Whether images that cannot be used are an error; otherwise they are named and skipped.
    """

    scale: int
    channels: int
    patch_size: int
    patches: int
    folder: Path | None = None
    test_folders: tuple[Path, ...] = ()
    strict: bool = False


@dataclass(frozen=True)
class Splits:
    """Originals by part (``train``, ``val``, ``test``), and batches of what networks get of them."""

    originals: dict[str, list[Original]]
    sources: Sources

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of a training patch in low resolution."""
        return (self.sources.channels, self.sources.patch_size, self.sources.patch_size)

    def loader(
        self, part: str, batch_size: int, seed: int = 0, workers: int = 0, rank: int = 0, world: int = 1
    ) -> Batches:
        """Patches of the training part, whole images of the others."""
        own = self.sources
        pairs = [make_pair(original, own.scale, own.channels) for original in self.originals[part]]
        if part != "train":
            return ImageBatches(pairs)
        return PatchBatches(pairs, own.scale, own.patch_size, own.patches, batch_size, seed, rank, world)


def load_photographs(sources: Sources) -> Splits:
    """Images of the folders, where there are some, else those inside scikit-image and scikit-learn.

    Raises:
        DatasetError: If a folder is missing or has no image that can be used; with `strict`, on the first image that
            cannot be used.

    Returns:
        Originals; those of test folders have names such as ``Set5/baby``.
    """
    folder = sources.folder
    training = map(_embedded, TRAINING) if folder is None else read_folder(folder, sources.strict)
    tests = [
        Original(f"{each.name}/{original.name}", original.rgb)
        for each in sources.test_folders
        for original in read_folder(each, sources.strict)
    ]
    names = [original.name for original in tests]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DatasetError(f"test-data: received two images named {', '.join(twice)}; rename one, or its folder")
    return _splits(training, sources, tests or list(map(_embedded, TEST)))


DATASETS: dict[str, Callable[[Sources], Splits]] = {"photographs": load_photographs}


def _splits(training: Iterable[Original], sources: Sources, test: list[Original]) -> Splits:
    measurable = smallest_side(sources.scale) + sources.scale - 1  # cut to a multiple of scale before
    patch = sources.patch_size * sources.scale
    smallest = max(patch, measurable)
    pieces: dict[str, list[Original]] = {"train": [], "val": [], "test": _large_enough(test, measurable, sources)}
    for original in training:
        height, width = original.rgb.shape[1:]
        cut = width - round(width * _FOR_VALIDATION)
        if min(height, cut) < patch or min(height, width - cut) < measurable:
            needed = f"at least {_smallest_width(patch, measurable)} x {smallest}, for patches and validation"
            _skip(f"{original.name}: {width} x {height} pixels; allowed are {needed}", sources.strict)
            continue
        if len(pieces["val"]) == _VALIDATION_IMAGES:
            pieces["train"].append(original)
            continue
        pieces["train"].append(Original(original.name, original.rgb[:, :, :cut]))
        pieces["val"].append(Original(original.name, original.rgb[:, :, cut:]))
    if not pieces["train"]:
        raise DatasetError(
            f"data: no image is large enough for a patch_size of {sources.patch_size} at scale {sources.scale}; use "
            "larger images, or a smaller patch_size"
        )
    return Splits(pieces, sources)


def _large_enough(test: list[Original], side: int, sources: Sources) -> list[Original]:
    kept = []
    for original in test:
        height, width = original.rgb.shape[1:]
        if min(height, width) >= side:
            kept.append(original)
            continue
        needed = f"at least {side} x {side}, for SSIM at scale {sources.scale}"
        _skip(f"{original.name}: {width} x {height} pixels; allowed are {needed}", sources.strict)
    if not kept:
        raise DatasetError(f"test-data: no image is large enough; use images of at least {side} x {side} pixels")
    return kept


def _smallest_width(patch: int, measurable: int) -> int:
    widths = range(patch + measurable, 10 * (patch + measurable))
    return next(w for w in widths if (cut := w - round(w * _FOR_VALIDATION)) >= patch and w - cut >= measurable)


def _skip(problem: str, strict: bool) -> None:
    """Name an image that cannot be used; an error with ``--strict``."""
    if strict:
        raise DatasetError(f"data: {problem}. Without --strict such images are skipped")
    print(f"skipped {problem}", file=sys.stderr)


def read_folder(folder: Path, strict: bool = False) -> list[Original]:
    """All images of a folder, in the order of their names; grey ones and those of 16 bits become RGB of 8 bits.

    Raises:
        DatasetError: If the folder is missing or holds no image that can be used; with `strict`, on the first image
            that cannot be read.
    """
    if not folder.is_dir():
        raise DatasetError(f"data: '{folder}' is no folder")
    found = []
    for path in sorted(each for each in folder.iterdir() if each.suffix.lower() in _SUFFIXES):
        try:
            found.append(Original(path.stem, _as_rgb(read_photo(path).values)))
        except ImageError as error:
            _skip(str(error), strict)
    if not found:
        allowed = ", ".join(sorted(_SUFFIXES))
        raise DatasetError(f"data: '{folder}' holds no image that can be used; allowed are files that end in {allowed}")
    return found


def _as_rgb(values: np.ndarray[Any, Any]) -> Codes:
    codes = to_codes(values)
    return np.repeat(codes, 3, axis=0) if len(codes) == 1 else codes


def _embedded(name: str) -> Original:
    try:
        if name.endswith(".jpg"):
            from sklearn.datasets import load_sample_image

            pixels = load_sample_image(name)
        else:
            import skimage.data

            pixels = getattr(skimage.data, name)()
    except ImportError as error:
        raise DatasetError(
            f"data: the photographs need the extra 'samples': pip install '.[samples]' ({error})"
        ) from error
    if isinstance(pixels, tuple):  # left and right view, and distances
        pixels = pixels[0]
    planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels[:, :, :3], 2, 0)
    return Original(name.removesuffix(".jpg"), np.repeat(planes, 3, axis=0) if len(planes) == 1 else planes.copy())
