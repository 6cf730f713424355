"""Fashion-MNIST: 60,000 training and 10,000 test images of 28 x 28 pixels, in gzipped IDX files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

from samples.classification.datasets.arrays import Splits, check_part, make_splits, random_flip
from samples.training.data import DatasetError

_UNSIGNED_BYTES = bytes([0, 0, 8])
_CLASSES = 10
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def read_idx(path: Path) -> np.ndarray:
    """Array of a gzipped IDX file of unsigned bytes.

    Raises:
        DatasetError: If the file is missing, cut short or not IDX.
    """
    try:
        content = gzip.decompress(path.read_bytes())
        if content[:3] != _UNSIGNED_BYTES:
            raise ValueError("it does not begin as IDX of unsigned bytes does")
        dimensions = content[3]
        shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except FileNotFoundError:
        raise DatasetError(
            f"data: '{path}' is missing. Install Debian's package dataset-fashion-mnist, or give --data a folder with "
            "the four .gz files"
        ) from None
    except Exception as error:  # damaged bytes make the readers fail in any way
        raise DatasetError(f"data: '{path}' is broken ({error}); copy it anew") from None


def load_fashion_mnist(data: Path | None) -> Splits:
    """Official split; a tenth of the training images is cut off for validation."""
    folder = data or DEBIAN_FOLDER
    return make_splits(_read(folder, "train"), _read(folder, "t10k"), random_flip, _CLASSES, f"'{folder}'")


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    paths = [folder / f"{part}-{content}-ubyte.gz" for content in ("images-idx3", "labels-idx1")]
    images, labels = map(read_idx, paths)
    check_part(" and ".join(f"'{path}'" for path in paths), images, labels, (28, 28), _CLASSES)
    return images[:, None], labels
