"""Batches of inputs, and how a network takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

Inputs = Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]
_LEAST, _BYTES = 2, 5 * 2**27


def first_of_batch(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs of a batch (inputs, labels), or the batch itself where it is a tensor."""
    return ((batch[0],) if isinstance(batch, tuple | list) else (batch,)), {}


def run_on(device: torch.device, network: nn.Module, arguments: Any) -> Any:
    """Run a network on copies of positional and keyword arguments on its device: it may change them in place."""
    args, kwargs = tree_map(lambda x: x.to(device, copy=True) if isinstance(x, Tensor) else x, arguments)
    return network(*args, **kwargs)


def count(arguments: Any) -> int:
    """Samples in a batch: length of its first tensor with dimensions; 0 without one."""
    tensors = [x for x in tree_leaves(arguments) if isinstance(x, Tensor) and x.dim()]
    return len(tensors[0]) if tensors else 0


def size_within_memory(activation_bytes: int, samples: int, at_most: int) -> int:
    """Samples of a step: as many as keep the activations of one pass within 640 MiB, but two at least.

    Args:
        activation_bytes: Bytes of all activations of a pass of the float network.
        samples: Samples in that pass.
        at_most: The largest size.
    """
    return max(_LEAST, min(at_most, _BYTES * samples // max(1, activation_bytes)))


class Batches:
    """A data loader, and how to call a network with one of its batches.

    Args:
        loader: Iterable of batches; each pass begins anew.
        inputs: Positional and keyword arguments of the network, from a batch.
        batch_size: Samples in a batch; None where the loader does not say, and the first dimension of each batch's
            first input tensor counts.
    """

    def __init__(self, loader: Iterable[Any], inputs: Inputs = first_of_batch, batch_size: int | None = None) -> None:
        self._loader = loader
        self.inputs = inputs
        self.batch_size = batch_size

    def take(self, batches: int) -> Iterator[Any]:
        """That many batches, or as many as there are."""
        return islice(self._loader, batches)

    def take_samples(self, samples: int) -> Iterator[Any]:
        """Batches with `samples` samples in all, rounded up to whole batches."""
        batches = iter(self._loader)  # begun here, where it draws a random number, not where the state is restored
        if self.batch_size is not None:
            return islice(batches, -(-samples // max(1, self.batch_size)))
        return self._counted(batches, samples)

    def runner(self, model: nn.Module, device: torch.device | None = None) -> Callable[[Any], Any]:
        """Function that runs the model on one batch, on its device (by default that of its first parameter)."""
        target = next(model.parameters()).device if device is None else device

        def run(batch: Any) -> Any:
            return run_on(target, model, self.inputs(batch))

        return run

    def _counted(self, batches: Iterator[Any], samples: int) -> Iterator[Any]:
        while samples > 0 and (batch := next(batches, None)) is not None:
            yield batch
            samples -= count(self.inputs(batch)) or 1
