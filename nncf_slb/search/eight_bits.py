"""Weights in 8 bits, for first and last layers: rounded once, not searched."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.search.channels import channel_broadcast, channel_rows, transposed_groups
from nncf_slb.search.runtime import Codes
from nncf_slb.search.scale import fit_scale, nearest_codes

EIGHT_BITS = 8
_LARGEST = 127


@torch.no_grad()
def eight_bit_codes(layer: nn.Module) -> Codes:
    """The layer's weight in the integers from -127 to 127, with a scale for each output channel of least squared error.

    Args:
        layer: Convolution or Linear layer with a float ``weight``.
    """
    weight: Any = layer.weight
    groups = transposed_groups(layer)
    table: Tensor = torch.arange(-_LARGEST, _LARGEST + 1, dtype=weight.dtype, device=weight.device)
    scale = channel_broadcast(fit_scale(channel_rows(weight, groups), table), weight.shape, groups)
    codes = nearest_codes(weight / scale, table).to(torch.uint8)
    return Codes(codes, table.to(torch.int8), scale.clone(), EIGHT_BITS)
