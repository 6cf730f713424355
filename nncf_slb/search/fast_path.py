"""PyTorch's fused pass of encoder layers and attention, which reads weights and runs no layer.

In evaluation without gradients `torch.nn.TransformerEncoderLayer` takes it. Whatever a layer does beside its weight,
such as rounding its inputs, is left out then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn


def run_all_layers_(network: nn.Module) -> None:
    """From now on let the encoder layers of a network run their own layers in evaluation too, in place."""
    for module in network.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            cast(Any, module).activation_relu_or_gelu = 0  # what it is for functions that have no fused pass
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # which only the fused pass takes


@contextmanager
def all_layers_run() -> Iterator[None]:
    """Within it, no network takes the fused pass; converters know its parts, but not the whole."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
