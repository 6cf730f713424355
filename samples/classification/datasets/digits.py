"""scikit-learn's 1,797 handwritten digits, 8 x 8 pixels; they come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samples.classification.datasets.arrays import Splits, make_splits, split_validation


def load_digits_splits(data: Path | None) -> Splits:
    """A fixed fifth of each class is the test part."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images[:, None].astype(np.float32), digits.target
    train, test = split_validation(labels, fraction=0.2)
    return make_splits((images[train], labels[train]), (images[test], labels[test]), None, 10, "digits")
