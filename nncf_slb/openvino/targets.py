"""What weights and inputs of given bits can become on a target device; asked before training and again at export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from nncf_slb.config.devices import BinaryConvolution, LinearChoice, TargetDevice, find_target_device
from nncf_slb.config.section import OpenVINOConfig
from nncf_slb.search.channels import SEARCHABLE_LAYERS

BINARY_CHANNEL_MULTIPLE = 8


def why_not_binary(layer: nn.Module, table: Sequence[float]) -> str | None:
    """Why a layer with 1-bit inputs can't be OpenVINO's BinaryConvolution; None if it can.

    Measured with OpenVINO 2026.4.1: exact with zero padding and any stride, dilation and kernel; wrong results
    where the input channels are no multiple of 8.

    Args:
        layer: Layer of torch.
        table: Entries of its value table.
    """
    if not isinstance(layer, nn.Conv2d):
        kind = next((kind for kind in SEARCHABLE_LAYERS if isinstance(layer, kind)), type(layer))
        return f"it is {kind.__name__}, not Conv2d"
    if sorted(table) != [-1, 1]:
        return "its weights are not -1 and 1 times a scale"
    if layer.groups != 1:
        return f"it has {layer.groups} groups"
    if layer.in_channels % BINARY_CHANNEL_MULTIPLE:
        return f"its {layer.in_channels} input channels are no multiple of {BINARY_CHANNEL_MULTIPLE}"
    if layer.padding_mode != "zeros":
        return f"its padding_mode is {layer.padding_mode}"
    return None


@dataclass(frozen=True)
class LoweringSettings:
    """How a network is lowered.

    Attributes:
        target_device: Device that the IR is for.
        binary_convolution: ``auto``, ``always`` or ``never``, as in the config.
        linear: ``exact`` or ``fastest``, as in the config.
    """

    target_device: TargetDevice = "CPU"
    binary_convolution: BinaryConvolution = "auto"
    linear: LinearChoice = "exact"

    @classmethod
    def of_config(cls, target_device: str | None, section: OpenVINOConfig) -> LoweringSettings:
        """As a config asks for it.

        Args:
            target_device: Top-level setting of that name.
            section: ``openvino`` of the slb section.

        Raises:
            ValueError: On an unknown device.
        """
        device = find_target_device(target_device)
        return cls(device, section.binary_convolution, section.linear)
