"""Puts searched and fixed weights and quantizers of inputs into layers of plain torch, and takes them out again."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from torch.nn.utils import parametrize

from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.runtime import FixedActivation, FixedWeight, make_low_bit_
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState
from nncf_slb.search.strip import codes_of, fixed_activation

_QUANTIZER = "input_quantizer"


class _QuantizeInput:
    """Forward pre-hook that quantizes the first input of a layer."""

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        quantizer: Any = getattr(layer, _QUANTIZER)
        if args:
            return (quantizer(args[0]), *args[1:]), kwargs
        first, value = next(iter(kwargs.items()))
        return args, {**kwargs, first: quantizer(value)}


def insert_weight(layer: nn.Module, weight: SearchableWeight | FixedWeight) -> None:
    """From now on a layer computes with a searched weight, whose latents are its own parameter, or with a fixed one."""
    if parametrize.is_parametrized(layer):  # its class, with a property for each tensor, is also that of its copies
        kind = type(layer)
        layer.__class__ = type(kind.__name__, (kind,), {})
    parametrize.register_parametrization(layer, "weight", weight, unsafe=True)


def insert_quantizer(layer: nn.Module, quantizer: ActivationQuantizer) -> None:
    """From now on a layer computes with its first input quantized."""
    layer.add_module(_QUANTIZER, quantizer)
    layer.register_forward_pre_hook(_QuantizeInput(), with_kwargs=True)


def weight_of(layer: nn.Module) -> SearchableWeight | FixedWeight | None:
    """What `insert_weight` has put in; None where it has put in nothing."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    first = cast(Any, layer).parametrizations["weight"][0]
    return first if isinstance(first, SearchableWeight | FixedWeight) else None


def strip_(network: nn.Module) -> None:
    """Turn all layers with inserted weights into their low-bit form in place.

    Raises:
        nncf_slb.search.strip.StripError: If a quantizer of inputs has seen no data.
    """
    SearchState.unwatch(network)
    inserted = [(layer, weight) for layer in network.modules() if (weight := weight_of(layer)) is not None]
    # All codes first: a weight that layers share loses its latents with the first of them. Each layer gets its own, as
    # a converted network holds a tensor once, under one name.
    codes = {layer: codes_of(weight) for layer, weight in inserted}
    fixed: dict[ActivationQuantizer, FixedActivation] = {}
    for layer in codes:
        quantizer = layer._modules.pop(_QUANTIZER, None)
        activation = None
        if isinstance(quantizer, ActivationQuantizer):
            if quantizer not in fixed:
                fixed[quantizer] = fixed_activation(quantizer)
            activation = fixed[quantizer]
            for key in [key for key, hook in layer._forward_pre_hooks.items() if isinstance(hook, _QuantizeInput)]:
                del layer._forward_pre_hooks[key]
                layer._forward_pre_hooks_with_kwargs.pop(key, None)
        _take_weight_out(layer)
        make_low_bit_(layer, codes[layer], activation)


def _take_weight_out(layer: nn.Module) -> None:
    """Undo `insert_weight`, leaving no weight.

    PyTorch's own function takes the property from the class, which copies of the layer share (2.13).
    """
    lists: Any = layer.parametrizations
    del lists["weight"]
    if not len(lists):
        del layer.parametrizations
    layer.__class__ = type(layer).__bases__[0]
    layer._parameters["weight"] = None
