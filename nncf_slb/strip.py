"""Search network -> plain torch modules that hold integer codes and scales.

A stripped layer is the torch layer that it was, with `weight` computed from three buffers: ``codes`` (uint8,
``weight.shape``), ``values`` (int8 ``[len(values)]``, float32 for values without a common step) and ``scale`` (float32,
broadcastable to the weight). Nothing here needs NNCF.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nncf_slb.layers import SearchableWeight


class CodedWeight:
    """Mixin of modules whose weight is ``values[codes] * scale``.

    Attributes:
        bits: Bits that one code takes in a packed file, 1-4.
    """

    codes: Tensor
    values: Tensor
    scale: Tensor
    bits: int
    _emit_codes = False

    def decode(self) -> Tensor:
        """Float weight ``codes.shape``; while exporting to OpenVINO, the codes in its place (see `codes_in_place`)."""
        if self._emit_codes:
            return self.codes.to(self.scale.dtype) * self.scale
        return self.values[self.codes.long()].to(self.scale.dtype) * self.scale

    def hold(self, searchable: SearchableWeight) -> None:
        """Take over what was chosen; the scale absorbs the step of the values."""
        table = searchable.value_table
        self.bits = searchable.values.bits
        register = nn.Module.register_buffer
        register(self, "codes", searchable.codes())  # type: ignore[arg-type]
        register(self, "values", table.to(torch.int8) if searchable.values.is_integer else table.clone())  # type: ignore[arg-type]
        register(self, "scale", searchable.multiplier().detach().clone())  # type: ignore[arg-type]


class _LowBitLayer(CodedWeight):
    """A torch layer with a coded weight instead of a parameter."""

    __jit_unused_properties__: ClassVar = ["weight"]

    @property
    def weight(self) -> Tensor:
        """Decoded weight."""
        return self.decode()

    def extra_repr(self) -> str:
        """What torch shows of the layer, and the bits."""
        return f"{super().extra_repr()}, bits={self.bits}"  # type: ignore[misc]


class LowBitConv1d(_LowBitLayer, nn.Conv1d):  # type: ignore[override]
    """`torch.nn.Conv1d` with a coded weight."""


class LowBitConv2d(_LowBitLayer, nn.Conv2d):  # type: ignore[override]
    """`torch.nn.Conv2d` with a coded weight."""


class LowBitConv3d(_LowBitLayer, nn.Conv3d):  # type: ignore[override]
    """`torch.nn.Conv3d` with a coded weight."""


class LowBitConvTranspose1d(_LowBitLayer, nn.ConvTranspose1d):  # type: ignore[override]
    """`torch.nn.ConvTranspose1d` with a coded weight."""


class LowBitConvTranspose2d(_LowBitLayer, nn.ConvTranspose2d):  # type: ignore[override]
    """`torch.nn.ConvTranspose2d` with a coded weight."""


class LowBitConvTranspose3d(_LowBitLayer, nn.ConvTranspose3d):  # type: ignore[override]
    """`torch.nn.ConvTranspose3d` with a coded weight."""


class LowBitLinear(_LowBitLayer, nn.Linear):  # type: ignore[override]
    """`torch.nn.Linear` with a coded weight."""


_LOW_BIT_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: LowBitConv1d,
    nn.Conv2d: LowBitConv2d,
    nn.Conv3d: LowBitConv3d,
    nn.ConvTranspose1d: LowBitConvTranspose1d,
    nn.ConvTranspose2d: LowBitConvTranspose2d,
    nn.ConvTranspose3d: LowBitConvTranspose3d,
    nn.Linear: LowBitLinear,
}


class FixedWeight(CodedWeight, nn.Module):
    """Coded weight as a module, for a host that asks a hook for the weight (NNCF, in a composite)."""

    def __init__(self, searchable: SearchableWeight) -> None:
        nn.Module.__init__(self)
        self.hold(searchable)

    def forward(self, weight: Tensor | None = None) -> Tensor:
        """The decoded weight; the argument is not used."""
        return self.decode()


def make_low_bit_(layer: nn.Module, searchable: SearchableWeight) -> None:
    """Turn a plain torch layer into its low-bit class in place.

    Raises:
        TypeError: If the layer's class is not exactly one of torch's convolution or Linear classes.
    """
    if type(layer) not in _LOW_BIT_CLASSES:
        raise TypeError(f"{type(layer).__name__} has no low-bit form; it must be one of torch.nn's own layers")
    del layer._parameters["weight"]
    low_bit: Any = layer
    low_bit.__class__ = _LOW_BIT_CLASSES[type(layer)]
    low_bit.hold(searchable)


def coded_weights(model: nn.Module) -> dict[str, CodedWeight]:
    """Modules with coded weights by their path in the model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, CodedWeight)}


@contextmanager
def codes_in_place(model: nn.Module) -> Iterator[None]:
    """Make every coded weight give ``codes * scale``, a form that graph converters keep and a rewrite can recognise."""
    coded = list(coded_weights(model).values())
    for module in coded:
        module._emit_codes = True
    try:
        yield
    finally:
        for module in coded:
            del module._emit_codes
