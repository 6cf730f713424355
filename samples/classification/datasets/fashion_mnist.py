"""Fashion-MNIST: 60,000 training and 10,000 test images of 28 x 28 pixels, in gzipped IDX files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

from samples.classification.datasets.arrays import Splits, make_splits, random_flip
from samples.training.data import DatasetError

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def read_idx(path: Path) -> np.ndarray:
    """Array of a gzipped IDX file of unsigned bytes.

    Raises:
        DatasetError: If the file is missing, cut short or not IDX.
    """
    try:
        content = gzip.decompress(path.read_bytes())
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
    parts = [
        (read_idx(folder / f"{name}-images-idx3-ubyte.gz")[:, None], read_idx(folder / f"{name}-labels-idx1-ubyte.gz"))
        for name in ("train", "t10k")
    ]
    return make_splits(parts[0], parts[1], random_flip)
