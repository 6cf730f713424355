"""Unlabeled samples that are kept in memory and drawn in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten
from torch.utils.data import Dataset, IterableDataset

from nncf_slb.errors import DataError
from nncf_slb.search.batches import Inputs, count

HALF = (torch.float16, torch.bfloat16)  # searched in float32


class Unlabeled:
    """Arguments of a network for some samples.

    Where all batches that were given have samples of one shape, new batches are drawn from all samples; else a batch
    stays as it came.

    Args:
        batches: Positional and keyword arguments of the network, tensors in any nesting, in the form of `collect`.
    """

    def __init__(self, batches: list[Any]) -> None:
        self._joined = _joined(batches)
        self._batches = batches if self._joined is None else [self._joined]

    def __len__(self) -> int:
        """Number of samples."""
        return sum(map(count, self._batches))

    @property
    def sample(self) -> Any:
        """The first sample as a batch of one; the first batch where samples cannot be drawn."""
        return self.first(1)[0]

    def first(self, count: int) -> list[Any]:
        """That many samples at most, each as a batch of one; whole batches where samples cannot be drawn."""
        if self._joined is None:
            return self._batches[:count]
        return [_rows(self._joined, slice(index, index + 1)) for index in range(min(count, len(self)))]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(x.nbytes for x in self.tensors)

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors of all samples."""
        return [x for x in tree_leaves(self._batches) if isinstance(x, Tensor)]

    def in_order(self, size: int) -> Iterator[Any]:
        """All samples in their order, where samples can be drawn in batches of at most `size` and nearly equal length.

        No batch has one sample, in which batch norm would find no variance; with an odd number and a `size` of 2, one
        has three.
        """
        if self._joined is None:
            yield from self._batches
            return
        parts = max(1, min(-(-len(self) // size), len(self) // 2))
        for part in range(parts):
            yield _rows(self._joined, slice(part * len(self) // parts, (part + 1) * len(self) // parts))

    def shuffled(self, size: int, numbers: torch.Generator) -> Iterator[Any]:
        """All samples in random order, in batches of `size`; what is left over from the last whole batch waits."""
        if self._joined is None:
            for index in torch.randperm(len(self._batches), generator=numbers).tolist():
                yield self._batches[index]
            return
        order = torch.randperm(len(self), generator=numbers)
        size = min(size, len(self))
        for start in range(0, len(order) - size + 1, size):
            yield _rows(self._joined, order[start : start + size])

    def split(self, samples: int) -> tuple[Unlabeled, Unlabeled]:
        """The first `samples` of them, and the others; whole batches where samples cannot be drawn."""
        if self._joined is not None:
            whole = self._joined
            return Unlabeled([_rows(whole, slice(0, samples))]), Unlabeled([_rows(whole, slice(samples, None))])
        seen = index = 0
        while index < len(self._batches) - 1 and seen < samples:
            seen += count(self._batches[index])
            index += 1
        return Unlabeled(self._batches[:index]), Unlabeled(self._batches[index:])


def collect(images: Iterable[Any], inputs: Inputs, samples: int) -> Unlabeled:
    """Take samples from an iterable of batches, or from one tensor of them.

    Args:
        images: Batches, or a tensor ``[samples, ...]``.
        inputs: Positional and keyword arguments of the network, from a batch.
        samples: Samples to take at most.

    Raises:
        DataError: If there are fewer than two, if `images` raises or is not iterable, or if they hold a NaN or an
            infinity.
    """
    if isinstance(images, Tensor):
        images = [images]
    if isinstance(images, Dataset) and not isinstance(images, IterableDataset):
        raise DataError(
            f"images: received {type(images).__name__}, whose entries are single samples; allowed are batches. Use "
            "torch.utils.data.DataLoader(dataset, batch_size=100)"
        )
    taken: list[Any] = []
    first: list[float] = []
    seen, without_tensors = 0, ""
    try:
        for batch in images:
            arguments = tree_map(_kept, inputs(batch))
            number = count(arguments)
            if not number:
                without_tensors = without_tensors or _kind_without_tensors(arguments)
                continue
            _refuse_not_finite(arguments, seen)
            if not taken:
                first = _sums(arguments)
            elif _sums(taken[0]) != first:
                raise DataError(
                    "images: received batches in one memory that is filled again and again, so that all are the last "
                    "one; allowed are batches of their own. Yield a copy: batch.clone()"
                )
            if seen + number > samples and _joined([arguments]) is not None:
                arguments, number = _rows(arguments, slice(0, samples - seen)), samples - seen
            taken.append(arguments)
            seen += number
            if seen >= samples:
                break
    except DataError:
        raise
    except Exception as error:  # whatever the user's loader raises
        raise DataError(
            f"images: received {type(images).__name__}, which failed after {seen} samples "
            f"({type(error).__name__}: {error}); allowed are a tensor [samples, ...] and an iterable of batches"
        ) from error
    if seen < 2:
        raise DataError(
            f"images: received {seen} samples{without_tensors}; allowed are two or more. Some hundreds give good "
            "results, 2,000 the best"
        )
    return Unlabeled(taken)


def _sums(arguments: Any) -> list[float]:
    """What tells whether the tensors of a batch have changed."""
    return [float(x.double().sum()) for x in tree_leaves(arguments) if isinstance(x, Tensor) and not x.is_complex()]


def _kept(x: Any) -> Any:
    if not isinstance(x, Tensor):
        return x
    x = x.detach()
    if x.is_inference():  # no gradient could be taken of what is computed from it
        x = x.clone()
    return x.float() if x.dtype in HALF else x


def _kind_without_tensors(arguments: Any) -> str:
    """What a batch holds in place of tensors, for a message; empty where it holds tensors without samples."""
    leaves = tree_leaves(arguments)
    if not leaves or any(isinstance(x, Tensor) for x in leaves):
        return ""
    return f" as tensors, and batches of {type(leaves[0]).__name__}; torch.from_numpy makes tensors of NumPy arrays"


def _refuse_not_finite(arguments: Any, seen: int) -> None:
    for x in tree_leaves(arguments):
        if isinstance(x, Tensor) and x.is_floating_point() and not bool(x.isfinite().all()):
            raise DataError(
                f"images: received a NaN or an infinity in the batch that begins with sample {seen}; allowed are "
                "finite numbers. Look at how the images are normalized"
            )


def _joined(batches: list[Any]) -> Any:
    """All samples in one batch; None where they differ in more than their numbers."""
    flat = [tree_flatten(batch) for batch in batches]
    leaves, structure = flat[0]
    for others, form in flat:
        if form != structure:
            return None
        length = count(others)
        for own, other in zip(leaves, others, strict=True):
            if isinstance(own, Tensor) != isinstance(other, Tensor):
                return None
            if not (_joinable(own, other, length) if isinstance(own, Tensor) and own.dim() else _same(own, other)):
                return None
    if len(batches) == 1:
        return batches[0]
    columns = zip(*(others for others, _ in flat), strict=True)
    return tree_unflatten(
        [torch.cat(column) if _has_samples(column[0]) else column[0] for column in columns], structure
    )


def _has_samples(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dim() > 0


def _joinable(own: Tensor, other: Tensor, length: int) -> bool:
    return other.dim() > 0 and len(other) == length and own.shape[1:] == other.shape[1:]


def _same(own: Any, other: Any) -> bool:
    """Whether two entries of batches that are no samples are equal; what cannot tell is not."""
    try:
        return own is other or bool(own == other)
    except Exception:  # arrays have no truth value
        return False


def _rows(arguments: Any, rows: slice | Tensor) -> Any:
    return tree_map(lambda x: x[rows] if _has_samples(x) else x, arguments)
