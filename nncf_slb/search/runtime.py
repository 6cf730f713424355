"""Layers that hold integer codes, scales and quantizers of inputs: all that a deployed network runs.

A low-bit layer is the torch layer that it was, with `weight` computed from the buffers ``codes`` (uint8,
``weight.shape``) and ``values`` (int8 ``[len(values)]``, float32 for values without a common step) and the parameter
``scale`` (float32, broadcastable to the weight, not trained). A layer of a class that derives from torch's holds them
in a module ``coded_weight``, apart from what the class has of its own. Where its inputs are quantized it holds a
`FixedActivation`. Nothing here needs the code that trains.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nncf_slb.search.channels import SEARCHABLE_LAYERS

CODED = "coded_"  # begins the names of modules that hold the codes of a parameter
CODED_WEIGHT = "coded_weight"  # such a module in a layer of a class that derives from torch's


class Codes(NamedTuple):
    """A weight ``values[codes] * scale``.

    Attributes:
        codes: uint8, shape of the weight.
        values: int8, or float32 where the values are not integers up to 64 times one step, ``[number of values]``.
        scale: float32, broadcastable to the weight.
        bits: Bits that one code takes in a packed file, 1-4, or 8 for first and last layers.
    """

    codes: Tensor
    values: Tensor
    scale: Tensor
    bits: int


class FixedActivation(nn.Module):
    """Quantizer of a layer's input: the sign, or rounding to levels a fixed step apart.

    Buffer ``step`` (float32 scalar) where there are 2 to 8 bits.

    Args:
        bits: 1, 2, 4 or 8; with 1 it is a sign, which has no step.
        step: Distance of two levels, a positive scalar.
        levels: Lowest and highest integer level.
    """

    if TYPE_CHECKING:
        step: Tensor | None
        zero_point: Tensor | None

    def __init__(self, bits: int, step: Tensor | None = None, levels: tuple[int, int] = (0, 1)) -> None:
        super().__init__()
        self.bits = bits
        # A sign has none of these; a scripted module needs them all the same.
        self.lowest, self.highest = levels
        zero_point = None if step is None else torch.zeros((), dtype=torch.int32, device=step.device)
        self.register_buffer("step", step)
        self.register_buffer("zero_point", zero_point, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Quantized input, shape and dtype of `x`."""
        if not torch.jit.is_scripting():
            if (
                torch.onnx.is_in_onnx_export() and self.step is not None and self.bits != 8
            ):  # all that ONNX quantizes to
                return torch.clamp(torch.round(x / self.step), self.lowest, self.highest) * self.step
            if torch.compiler.is_exporting() and self.step is not None:  # which lacks a form of the next operation
                return torch.clamp(torch.round(x * (1 / self.step)), self.lowest, self.highest) * self.step
        if self.step is not None:
            return torch.fake_quantize_per_tensor_affine(x, self.step, self.zero_point, self.lowest, self.highest)
        return torch.where(x > 0, 1.0, -1.0).to(x.dtype)

    def extra_repr(self) -> str:
        """Bits."""
        return f"bits={self.bits}"


class CodedWeight:
    """Mixin of modules whose weight is ``values[codes] * scale``.

    Attributes:
        bits: Bits that one code takes in a packed file, 1-4, or 8 for first and last layers.
    """

    if TYPE_CHECKING:  # at run time torch.jit.script would read these as texts
        codes: Tensor
        values: Tensor
        scale: nn.Parameter
        bits: int

    def decode(self) -> Tensor:
        """Float weight ``codes.shape``."""
        return self.values[self.codes.long()].to(self.scale.dtype) * self.scale

    def hold(self, coded: Codes) -> None:
        """Take over what was chosen."""
        self.bits = coded.bits
        register = nn.Module.register_buffer
        register(self, "codes", coded.codes)
        register(self, "values", coded.values)
        # A parameter, though nothing trains it: networks ask their first parameter for their device.
        scale = nn.Parameter(coded.scale, requires_grad=False)
        nn.Module.register_parameter(self, "scale", scale)


class _Stripped:
    """Mixin of layers whose weight is decoded, and whose inputs may be quantized."""

    if TYPE_CHECKING:
        input_quantizer: FixedActivation | None

    def quantized(self, x: Tensor) -> Tensor:
        """The input as the layer computes with it."""
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        return x


class _LowBitLayer(_Stripped, CodedWeight):
    """A torch layer with a coded weight instead of a parameter, and perhaps a quantizer of its input."""

    @property
    def weight(self) -> Tensor:
        """Decoded weight."""
        return self.decode()

    def extra_repr(self) -> str:
        """What torch shows of the layer, and the bits."""
        return f"{super().extra_repr()}, bits={self.bits}"  # type: ignore[misc]


# The forward methods are torch's own on a quantized input, written out since TorchScript knows no super();
# it reads comments on types as well, so pyproject.toml tells mypy what these methods take from torch's classes.


class _LowBitConvolution(_LowBitLayer):
    def forward(self, input: Tensor) -> Tensor:
        """The convolution of the quantized input."""
        return self._conv_forward(self.quantized(input), self.weight, self.bias)


class LowBitConv1d(_LowBitConvolution, nn.Conv1d):
    """`torch.nn.Conv1d` with a coded weight."""


class LowBitConv2d(_LowBitConvolution, nn.Conv2d):
    """`torch.nn.Conv2d` with a coded weight."""


class LowBitConv3d(_LowBitConvolution, nn.Conv3d):
    """`torch.nn.Conv3d` with a coded weight."""


class LowBitConvTranspose1d(_LowBitLayer, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` with a coded weight."""

    def forward(self, input: Tensor, output_size: Optional[list[int]] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """The transposed convolution of the quantized input."""
        padding = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, 1, self.dilation
        )  # fmt: skip
        return functional.conv_transpose1d(
            self.quantized(input), self.weight, self.bias, self.stride, self.padding, padding, self.groups,
            self.dilation,
        )  # fmt: skip


class LowBitConvTranspose2d(_LowBitLayer, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with a coded weight."""

    def forward(self, input: Tensor, output_size: Optional[list[int]] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """The transposed convolution of the quantized input."""
        padding = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, 2, self.dilation
        )  # fmt: skip
        return functional.conv_transpose2d(
            self.quantized(input), self.weight, self.bias, self.stride, self.padding, padding, self.groups,
            self.dilation,
        )  # fmt: skip


class LowBitConvTranspose3d(_LowBitLayer, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` with a coded weight."""

    def forward(self, input: Tensor, output_size: Optional[list[int]] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """The transposed convolution of the quantized input."""
        padding = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, 3, self.dilation
        )  # fmt: skip
        return functional.conv_transpose3d(
            self.quantized(input), self.weight, self.bias, self.stride, self.padding, padding, self.groups,
            self.dilation,
        )  # fmt: skip


class LowBitLinear(_LowBitLayer, nn.Linear):
    """`torch.nn.Linear` with a coded weight."""

    def forward(self, input: Tensor) -> Tensor:
        """The product with the quantized input."""
        return functional.linear(self.quantized(input), self.weight, self.bias)


class _LowBitSubclass(_Stripped):
    """A layer of a class that derives from one of torch's; its coded weight is a module inside it."""

    if TYPE_CHECKING:
        coded_weight: FixedWeight

    @property
    def weight(self) -> Tensor:
        """Decoded weight."""
        return self.coded_weight.decode()

    def __reduce_ex__(self, protocol: Any) -> Any:
        original = next(base for base in type(self).__mro__ if not issubclass(base, _Stripped))
        return _new_subclass, (original, self.input_quantizer is not None), self.__dict__


class _QuantizingSubclass(_LowBitSubclass):
    """The same with quantized inputs."""

    def forward(self, x: Tensor, *others: Any, **named: Any) -> Tensor:
        """The layer's own computation on the quantized input."""
        return super().forward(self.quantized(x), *others, **named)  # type: ignore[misc]


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
    """Coded weight as a module, for a host that asks a hook for the weight.

    Attributes:
        rounds: Whether it gives the decoded weight; if not, the float one that it is asked with.
    """

    def __init__(self, coded: Codes) -> None:
        nn.Module.__init__(self)
        self.hold(coded)
        self.rounds = True

    def forward(self, weight: Optional[Tensor] = None) -> Tensor:  # noqa: UP045 (TorchScript)
        """The decoded weight, or the float one."""
        if weight is None or self.rounds:
            return self.decode()
        return weight


@cache
def _subclass(original: type[nn.Module], quantizes: bool) -> type[nn.Module]:
    """Low-bit class of a class that derives from one of torch's layers."""
    base = _QuantizingSubclass if quantizes else _LowBitSubclass
    return type(f"LowBit{original.__name__}", (base, original), {"__doc__": original.__doc__})


def _new_subclass(original: type[nn.Module], quantizes: bool) -> nn.Module:
    """An empty layer, for unpickling and copying: its class is made on the spot."""
    kind = _subclass(original, quantizes)
    return kind.__new__(kind)


def is_layer(module: nn.Module) -> bool:
    """Whether a network runs a module as one of `SEARCHABLE_LAYERS`: all that derive from them but attention's output.

    `torch.nn.MultiheadAttention` reads that layer's weight and does not run the layer.
    """
    return isinstance(module, SEARCHABLE_LAYERS) and not isinstance(
        module, nn.modules.linear.NonDynamicallyQuantizableLinear
    )


def make_low_bit_(layer: nn.Module, coded: Codes, activation: FixedActivation | None) -> None:
    """Turn a plain layer into its low-bit class in place; `activation` quantizes its input.

    Raises:
        TypeError: If the layer is none of torch's convolutions or Linear, and derives from none.
    """
    kind, low_bit = type(layer), cast(Any, layer)
    if not issubclass(kind, tuple(_LOW_BIT_CLASSES)):
        raise TypeError(
            f"{kind.__name__} has no low-bit form; it must be one of torch.nn's own layers or derive from one"
        )
    del layer._parameters["weight"]
    if kind in _LOW_BIT_CLASSES:
        low_bit.__class__ = _LOW_BIT_CLASSES[kind]
        low_bit.hold(coded)
    else:
        low_bit.__class__ = _subclass(kind, activation is not None)
        low_bit.coded_weight = FixedWeight(coded)
    low_bit.input_quantizer = activation


class _CodedParameters:
    """A module that computes parameters from codes, in modules ``coded_<name>`` inside it."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        kind = type(self)
        return _new_with_coded_parameters, (kind.__bases__[1], kind.coded_names), self.__dict__


@cache
def _with_coded_parameters(original: type[nn.Module], names: tuple[str, ...]) -> type[nn.Module]:
    def decoded(name: str) -> property:
        def get(module: nn.Module) -> Tensor:
            coded = cast(CodedWeight, getattr(module, f"{CODED}{name}"))
            with torch._C.DisableTorchFunction():  # NNCF's hooks number operations, and these are none of the module's
                return coded.decode()

        return property(get)

    body = {"__doc__": original.__doc__, "coded_names": names, **{name: decoded(name) for name in names}}
    return type(f"LowBit{original.__name__}", (_CodedParameters, original), body)


def _new_with_coded_parameters(original: type[nn.Module], names: tuple[str, ...]) -> nn.Module:
    """An empty module, for unpickling and copying: its class is made on the spot."""
    kind = _with_coded_parameters(original, names)
    return kind.__new__(kind)


def code_parameter_(module: nn.Module, name: str, coded: Codes) -> None:
    """Let a module compute a parameter of its own from codes, in place; for weights that functions use."""
    kind, names = type(module), (name,)
    if issubclass(kind, _CodedParameters):
        kind, names = kind.__bases__[1], (*kind.coded_names, name)
    module._parameters.pop(name, None)
    module.__class__ = _with_coded_parameters(kind, names)
    module.add_module(f"{CODED}{name}", FixedWeight(coded))


def coded_weights(model: nn.Module) -> dict[str, CodedWeight]:
    """Modules with coded weights by their path in the model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, CodedWeight)}


def layer_path(model: nn.Module, name: str) -> str:
    """Path of a layer from that of the module with its codes: the layer, or a module inside it or a host's hook.

    Where no layer uses them, path of the parameter that they stand for.
    """
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = ".".join(parts[:end])
        if is_layer(model.get_submodule(path)):
            return path
    owner, dot, last = name.rpartition(".")
    return f"{owner}{dot}{last.removeprefix(CODED)}"


def layer_of_coded_weight(model: nn.Module, name: str) -> tuple[nn.Module, FixedActivation | None]:
    """The layer whose weight is coded by the module of that path, and the quantizer of its input.

    Where a function uses the weight, the module itself.
    """
    path = layer_path(model, name)
    if not f"{name}.".startswith(f"{path}."):
        return model.get_submodule(name), None
    layer = model.get_submodule(path)
    if isinstance(layer, _Stripped):
        return cast(nn.Module, layer), layer.input_quantizer
    return layer, next((m for m in layer.modules() if isinstance(m, FixedActivation)), None)
