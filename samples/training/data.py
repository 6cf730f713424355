"""What training needs of data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor


class DatasetError(ValueError):
    """Data that is missing or broken; the message names the file and the remedy."""


class Batches(Protocol):
    """A loader of (input, target) pairs."""

    batch_size: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...
    def rest(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches from a zero-based one on: what an interrupted epoch has left."""

    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffling of an epoch."""
