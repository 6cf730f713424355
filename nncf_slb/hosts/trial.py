"""Networks as a search will leave them, with random numbers for trained ones, to try and to size an export."""

from __future__ import annotations

import copy

import torch
from torch import nn

from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.batchnorm import STATISTICS, batch_norms
from nncf_slb.search.runtime import CodedWeight, FixedActivation
from nncf_slb.search.strip import fixed_activation


def trial_activation(quantizer: ActivationQuantizer, numbers: torch.Generator) -> FixedActivation:
    """As after training, though the quantizer has seen no data yet; signed, which takes more bytes, unless set."""
    return fixed_activation(trial_quantizer(quantizer, numbers))


def trial_quantizer(quantizer: ActivationQuantizer, numbers: torch.Generator) -> ActivationQuantizer:
    """A copy that has a step."""
    ready = copy.deepcopy(quantizer)
    ready.signed, ready.initialized = ready.signed is not False, True
    if quantizer.bits > 1:
        ready.is_signed.fill_(ready.signed)
        ready.is_initialized.fill_(True)
    make_numbers_differ(ready, numbers)
    return ready


@torch.no_grad()
def make_numbers_differ(model: nn.Module, numbers: torch.Generator) -> None:
    """Numbers as different as after training: of equal constants, such as the zeros of new biases, a file holds one."""
    statistics = [getattr(layer, name) for layer in batch_norms(model) for name in STATISTICS]
    # Scales are as different as they are fitted, but one of a group of a transposed convolution comes several times.
    scales = {id(module.scale) for module in model.modules() if isinstance(module, CodedWeight)}
    for tensor in [*model.parameters(), *statistics]:
        if tensor.is_floating_point() and id(tensor) not in scales:
            tensor.copy_(torch.rand(tensor.shape, generator=numbers) + 0.5)
