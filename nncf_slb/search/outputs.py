"""How far the outputs of two networks are apart, whatever these outputs are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

_CLASSES = 2  # dimensions of ``[samples, classes]``


def floating_outputs(output: Any) -> list[Tensor]:
    """Floating-point tensors of an output of any nesting, in order."""
    return [x for x in tree_leaves(output) if isinstance(x, Tensor) and x.is_floating_point()]


def are_classes(output: Tensor) -> bool:
    """Whether an output is taken for numbers of classes: ``[samples, columns]`` with two columns or more."""
    return output.dim() == _CLASSES and output.shape[1] > 1


def are_logits(output: Tensor) -> bool:
    """Whether an output is taken for logits: `are_classes`, and not all between 0 and 1, as probabilities are."""
    return are_classes(output) and bool(((output < 0) | (output > 1)).any())


def distance(reference: Tensor, other: Tensor, temperature: float = 1.0) -> Tensor:
    """What an output moved, and what that is relative to.

    Args:
        reference: Output of the float network.
        other: Output of the same shape.
        temperature: Divides logits on both sides.

    Returns:
        Two numbers, float ``[2]``. For logits (`are_logits`): sum of the KL divergences of the samples in nats, and
        number of samples. For all other outputs: ``||other - reference||**2`` and ``||reference||**2``.
    """
    if are_logits(reference):
        expected, received = (reference / temperature).log_softmax(1), (other / temperature).log_softmax(1)
        divergence = (expected.exp() * (expected - received)).sum()
        return torch.stack([divergence, divergence.new_tensor(len(reference))])
    return torch.stack([(other - reference).square().sum(), reference.square().sum()])


def relative_distance(reference: Tensor, other: Tensor, temperature: float = 1.0) -> Tensor:
    """The one divided by the other, a scalar."""
    moved, relative_to = distance(reference, other, temperature)
    result: Tensor = moved / relative_to.clamp_min(1e-30)
    return result
