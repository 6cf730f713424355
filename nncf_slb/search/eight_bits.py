"""Weights in 8 bits, for first and last layers: rounded once, not searched.

Processors without VNNI add the products of two bytes in 16 bits, and saturate silently: with weights up to 127, outputs
go wrong by 4 to 19 % of the largest one (OpenVINO 2026.4.1, limits AVX2 and AVX512_CORE). Up to 64 they cannot. NNCF
halves its 8-bit weights for the same reason (`overflow_fix`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.search.channels import channel_broadcast, channel_rows, transposed_groups
from nncf_slb.search.runtime import Codes
from nncf_slb.search.scale import fit_scale, nearest_codes
from nncf_slb.search.values import LARGEST_WITHOUT_SATURATION

EIGHT_BITS = 8
_LARGEST = 127


@torch.no_grad()
def eight_bit_codes(layer: nn.Module, quantized_inputs: bool) -> Codes:
    """The layer's weight in integers, with a scale for each output channel of least squared error.

    Args:
        layer: Convolution or Linear layer with a float ``weight``.
        quantized_inputs: Whether integer kernels compute with it: integers up to 64 then, else up to 127.
    """
    largest = LARGEST_WITHOUT_SATURATION if quantized_inputs else _LARGEST
    weight: Any = layer.weight
    groups = transposed_groups(layer)
    table: Tensor = torch.arange(-largest, largest + 1, dtype=weight.dtype, device=weight.device)
    scale = channel_broadcast(fit_scale(channel_rows(weight, groups), table), weight.shape, groups)
    codes = nearest_codes(weight / scale, table).to(torch.uint8)
    return Codes(codes, table.to(torch.int8), scale.clone(), EIGHT_BITS)
