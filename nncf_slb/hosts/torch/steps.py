"""The steps of a search without labels: their order, and what happens after each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from nncf_slb.hosts.torch.checkpoint import SearchFile
from nncf_slb.search.reconstruction import Progress, Reconstruction

logger = logging.getLogger("nncf_slb")


def endless(epoch: Callable[[torch.Generator], Iterable[Any]], seed: int, skipped: int) -> Iterator[Any]:
    """Batches without end, from the one that comes after `skipped` of them.

    Args:
        epoch: All batches once, in an order that the generator gives.
        seed: Of the generator.
        skipped: Batches to leave out.
    """
    numbers = torch.Generator().manual_seed(seed)
    index = 0
    while True:
        for batch in epoch(numbers):
            if index >= skipped:
                yield batch
            index += 1


def take_steps(
    training: Reconstruction, file: SearchFile, batches: Iterator[Any], each: Callable[[Progress], None],
    interrupt: threading.Event,
) -> None:  # fmt: skip
    """Take all steps that are left, and make the network discrete; what has been done is saved in any case.

    Args:
        training: The training.
        file: Where it is saved from time to time and at the end.
        batches: Enough for all steps.
        each: Called after each step.
        interrupt: Ends it early, after a step.
    """
    try:
        while not (training.is_done or interrupt.is_set()):
            each(training.advance(next(batches)))
            file.save(training)
    finally:
        if training.step:
            file.save(training, now=True)
    if not training.is_done:
        logger.warning(
            "slb: interrupted at step %d; what the search has found so far is kept. Ctrl-C again drops it",
            training.step,
        )
    training.end()
