"""Codes of 1 to 4 bits as bit planes: one layout for every width, which any runtime can take apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_PLACES = torch.arange(7, -1, -1, dtype=torch.uint8)


def to_planes(codes: Tensor, bits: int) -> Tensor:
    """Split codes into planes: plane ``k`` holds bit ``k`` of each code, eight codes to a byte, the first code in the
    highest bit.

    Args:
        codes: uint8 of any shape, each below ``2**bits``.
        bits: 1 to 4.

    Returns:
        uint8 ``[bits, (codes.numel() + 7) // 8]``; unused bits are zero.

    Example:
        >>> to_planes(torch.tensor([1, 2, 3], dtype=torch.uint8), 2).tolist()
        [[160], [96]]
    """
    flat = torch.nn.functional.pad(codes.reshape(-1), (0, -codes.numel() % 8)).reshape(-1, 8)
    places = _PLACES.to(codes.device)
    planes = [(((flat >> bit) & 1) << places).sum(1, dtype=torch.uint8) for bit in range(bits)]
    return torch.stack(planes)


def from_planes(planes: Tensor, shape: Sequence[int]) -> Tensor:
    """Codes that `to_planes` has split.

    Args:
        planes: uint8 ``[bits, (n + 7) // 8]``.
        shape: Shape of the codes, n in all.

    Returns:
        uint8 of that shape.
    """
    places = _PLACES.to(planes.device)
    codes = torch.zeros(planes.shape[1], 8, dtype=torch.uint8, device=planes.device)
    for bit, plane in enumerate(planes):
        codes |= ((plane[:, None] >> places) & 1) << bit
    return codes.reshape(-1)[: math.prod(shape)].reshape(list(shape)).clone()


def planes_shape(count: int, bits: int) -> tuple[int, int]:
    """Shape of the planes of `count` codes."""
    return bits, (count + 7) // 8
