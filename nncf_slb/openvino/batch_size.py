"""Whether a converted network takes batches of any size, as its inputs say."""

from __future__ import annotations

from collections.abc import Sequence

import openvino as ov
import torch
from torch import Tensor, nn

from nncf_slb.openvino.call_form import flat_outputs

_ANY = -1


@torch.no_grad()
def fixes_batch(
    model: ov.Model, network: nn.Module, examples: tuple[Tensor, ...], shapes: Sequence[Sequence[int]]
) -> bool:
    """Whether outputs for twice the batch have other shapes than the network gives.

    Tracing makes constants of Python numbers, such as ``len(x)`` and ``int(x.shape[0])``. What these shape keeps the
    batch of the example, and the file would answer many samples with the outputs of one.

    Args:
        model: Converted model.
        network: Network in eval mode that takes its tensors by position.
        examples: What it was traced with.
        shapes: Shape of each input of the model, -1 for any size.
    """
    is_free = [bool(len(shape)) and shape[0] == _ANY for shape in shapes]
    if not any(is_free):
        return False
    doubled = [torch.cat([x, x]) if free else x for x, free in zip(examples, is_free, strict=True)]
    try:
        expected = [list(x.shape) for x in flat_outputs(network(*doubled)).values()]
    except Exception:  # a network of one batch size, or one whose inputs begin with something else
        return False
    trial = model.clone()
    try:
        trial.reshape({port: list(x.shape) for port, x in zip(trial.inputs, doubled, strict=True)})
    except RuntimeError:  # shapes within do not fit
        return True
    received = [port.get_partial_shape() for port in trial.outputs]
    return any(not one.compatible(ov.PartialShape(other)) for one, other in zip(received, expected, strict=True))
