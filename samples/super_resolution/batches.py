"""Random patches to train on, and whole images to evaluate on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from samples.super_resolution.pairs import Codes, Pair, to_values


class PatchBatches:
    """Patches at random places, turned and mirrored at random by (seed, epoch) alone, so that resumed runs repeat them.

    Larger images are chosen more often: every place has the same chance.

    Args:
        pairs: Images, each at least `size` low-resolution pixels high and wide.
        scale: Factor between low and high resolution.
        size: Height and width of a patch in low resolution.
        count: Patches in an epoch.
        batch_size: Patches in a batch.
        seed: Seed of all choices.
        rank: This process, of `world`.
        world: Processes that share each epoch: their k-th batches together are the k-th one of a process alone with
            batches `world` times as large.
    """

    def __init__(
        self, pairs: list[Pair], scale: int, size: int, count: int, batch_size: int,
        seed: int = 0, rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        self.batch_size = batch_size
        self._pairs, self._scale, self._size = pairs, scale, size
        self._share, self._rank, self._world, self._seed, self._epoch = count // world, rank, world, seed, 0
        places = np.array([(p.low.shape[1] - size + 1) * (p.low.shape[2] - size + 1) for p in pairs], np.float64)
        self._chances = places / places.sum()

    def set_epoch(self, epoch: int) -> None:
        """Choose the patches of an epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._share // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.rest(0)

    def rest(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches from a zero-based one on."""
        generator = np.random.default_rng((self._seed, self._epoch, 0))
        for index in range(len(self)):
            count = min(self.batch_size, self._share - index * self.batch_size)
            chosen = [self._choose(generator) for _ in range(count * self._world)]
            if index >= start:
                patches = [self._cut(*each) for each in chosen[self._rank :: self._world]]
                low, high = (np.stack(each) for each in zip(*patches, strict=True))
                yield torch.from_numpy(to_values(low)), torch.from_numpy(to_values(high))

    def _choose(self, generator: np.random.Generator) -> tuple[Pair, int, int, int, bool]:
        """Image, place, turns and whether it is mirrored."""
        pair = self._pairs[generator.choice(len(self._pairs), p=self._chances)]
        top, left = (int(generator.integers(side - self._size + 1)) for side in pair.low.shape[1:])
        return pair, top, left, int(generator.integers(4)), bool(generator.integers(2))

    def _cut(self, pair: Pair, top: int, left: int, turns: int, mirrored: bool) -> tuple[Codes, Codes]:
        cuts = [
            codes[:, top * s : (top + self._size) * s, left * s : (left + self._size) * s]
            for codes, s in ((pair.low, 1), (pair.high, self._scale))
        ]
        cuts = [np.rot90(cut, turns, (1, 2)) for cut in cuts]
        low, high = (cut[:, :, ::-1] if mirrored else cut for cut in cuts)
        return low, high


class ImageBatches:
    """Whole images, one in a batch."""

    batch_size = 1

    def __init__(self, pairs: list[Pair]) -> None:
        self._pairs = pairs

    def set_epoch(self, epoch: int) -> None:
        """Every epoch is the same."""

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.rest(0)

    def rest(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The images from a zero-based one on."""
        for pair in self._pairs[start:]:
            yield torch.from_numpy(to_values(pair.low))[None], torch.from_numpy(to_values(pair.high))[None]
