"""Output channels of a layer's weight: which dimension they are, and how a scale for each of them meets the weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SEARCHABLE_LAYERS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear
)  # fmt: skip


def transposed_groups(layer: nn.Module) -> int | None:
    """Groups of a transposed convolution (whose weight is ``[in, out / groups, ...]``), None for any other layer."""
    return int(layer.groups) if isinstance(layer, nn.modules.conv._ConvTransposeNd) else None


def channel_rows(weight: Tensor, groups: int | None) -> Tensor:
    """View a weight as ``[output channels, weights per channel]``; `groups` as from `transposed_groups`."""
    if groups is None:
        return weight.flatten(1)
    per_group = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return per_group.transpose(1, 2).flatten(0, 1).flatten(1)


def channel_broadcast(scale: Tensor, weight_shape: torch.Size, groups: int | None) -> Tensor:
    """Shape a scale per output channel ``[channels]`` so that it multiplies a weight of `weight_shape`."""
    kernel = [1] * (len(weight_shape) - 2)
    if groups is None:
        return scale.reshape(-1, 1, *kernel)
    shaped = scale.reshape(groups, -1, *kernel)
    return shaped if groups == 1 else shaped.repeat_interleave(weight_shape[0] // groups, dim=0)


def zero_channels(weight: Tensor, groups: int | None) -> int:
    """Output channels of a weight that are zero throughout: whatever comes in, they give their bias."""
    return int((channel_rows(weight, groups) == 0).all(1).sum())
