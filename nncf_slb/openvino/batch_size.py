"""Whether a converted network takes batches of any size, as its inputs say."""

from __future__ import annotations

from collections.abc import Sequence

import openvino as ov
import torch
from torch import Tensor, nn

from nncf_slb.openvino.call_form import flat_outputs

_ANY = -1
DROPS_AXES = (
    "the network drops every axis of length 1 (squeeze() without a dimension), and so the batch where it is one "
    "sample. Write squeeze(dim) or flatten(1) in the network"
)


@torch.no_grad()
def shapes_of_twice_the_batch(
    network: nn.Module, examples: Sequence[Tensor], shapes: Sequence[Sequence[int]]
) -> tuple[list[list[int]], list[list[int]]] | None:
    """Shapes of inputs with twice the batch, and of what the network gives for them.

    Args:
        network: Network in eval mode that takes its tensors by position.
        examples: What it was traced with.
        shapes: Shape of each input of the file, -1 for any size.

    Returns:
        None where no batch is free, or where the network takes no other one.
    """
    is_free = [bool(len(shape)) and shape[0] == _ANY for shape in shapes]
    if not any(is_free):
        return None
    doubled = [torch.cat([x, x]) if free else x for x, free in zip(examples, is_free, strict=True)]
    try:
        outputs = flat_outputs(network(*doubled)).values()
    except Exception:  # a network of one batch size, or one whose inputs begin with something else
        return None
    return [list(x.shape) for x in doubled], [list(x.shape) for x in outputs]


def fixes_batch(
    model: ov.Model, network: nn.Module, examples: Sequence[Tensor], shapes: Sequence[Sequence[int]]
) -> bool:
    """Whether outputs of a converted model for twice the batch have other shapes than the network gives.

    Tracing makes constants of Python numbers, such as ``len(x)`` and ``int(x.shape[0])``. What these shape keeps the
    batch of the example, and the file would answer many samples with the outputs of one. Arguments as for
    `shapes_of_twice_the_batch`.
    """
    twice = shapes_of_twice_the_batch(network, examples, shapes)
    if twice is None:
        return False
    trial = model.clone()
    try:
        trial.reshape(dict(zip(trial.inputs, twice[0], strict=True)))
    except RuntimeError:  # shapes within do not fit
        return True
    received = [port.get_partial_shape() for port in trial.outputs]
    return any(not one.compatible(ov.PartialShape(other)) for one, other in zip(received, twice[1], strict=True))


def fixed_batch(examples: Sequence[Tensor]) -> str:
    """What to say of such a network."""
    return (
        "the converted network answers every batch as one of the example's size, since a Python number, such as len(x) "
        "or int(x.shape[0]), has become a constant. Write x.shape[0] or flatten(1) in the network, or fix the batch: "
        f"input_shapes={[list(example.shape) for example in examples]}"
    )


def drops_any_axis(model: ov.Model) -> bool:
    """Whether a converted model drops axes by their length alone, so that nothing tells how many are left.

    The CPU plugin compiles no such model.
    """
    return any(
        node.get_type_name() == "Squeeze" and node.get_output_partial_shape(0).rank.is_dynamic
        for node in model.get_ops()
    )
