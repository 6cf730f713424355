"""Puts searched and fixed weights and quantizers of inputs into layers of plain torch, and takes them out again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from torch import nn
from torch.nn.utils import parametrize

from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.runtime import FixedActivation, FixedWeight, code_parameter_, is_layer, make_low_bit_
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


def insert_weight(module: nn.Module, weight: SearchableWeight | FixedWeight, name: str = "weight") -> None:
    """From now on a module computes with a searched weight, whose latents are its parameter, or with a fixed one."""
    if parametrize.is_parametrized(module):  # its class, with a property for each tensor, is also that of its copies
        kind = type(module)
        module.__class__ = type(kind.__name__, (kind,), {})
    parametrize.register_parametrization(module, name, weight, unsafe=True)


def insert_quantizer(layer: nn.Module, quantizer: ActivationQuantizer) -> None:
    """From now on a layer computes with its first input quantized."""
    layer.add_module(_QUANTIZER, quantizer)
    layer.register_forward_pre_hook(_QuantizeInput(), with_kwargs=True)


def inserted_weights(network: nn.Module) -> Iterator[tuple[nn.Module, str, SearchableWeight | FixedWeight]]:
    """What `insert_weight` has put in: module, name of the parameter, and weight."""
    for module in network.modules():
        if parametrize.is_parametrized(module):
            for name, inserted in cast(Any, module).parametrizations.items():
                if isinstance(inserted[0], SearchableWeight | FixedWeight):
                    yield module, name, inserted[0]


def strip_(network: nn.Module) -> None:
    """Turn all layers with inserted weights into their low-bit form in place.

    Raises:
        nncf_slb.search.strip.StripError: If a quantizer of inputs has seen no data.
    """
    SearchState.unwatch(network)
    # All codes first: a weight that layers share loses its latents with the first of them. Each layer gets its own, as
    # a converted network holds a tensor once, under one name.
    codes = [(module, name, codes_of(weight)) for module, name, weight in inserted_weights(network)]
    for module, name, _ in codes:  # all of a module's before the first is coded: each has changed the class
        _take_weight_out(module, name)
    fixed: dict[ActivationQuantizer, FixedActivation] = {}
    for layer, name, coded in codes:
        quantizer = layer._modules.pop(_QUANTIZER, None)
        activation = None
        if isinstance(quantizer, ActivationQuantizer):
            if quantizer not in fixed:
                fixed[quantizer] = fixed_activation(quantizer)
            activation = fixed[quantizer]
            for key in [key for key, hook in layer._forward_pre_hooks.items() if isinstance(hook, _QuantizeInput)]:
                del layer._forward_pre_hooks[key]
                layer._forward_pre_hooks_with_kwargs.pop(key, None)
        if name == "weight" and is_layer(layer):
            make_low_bit_(layer, coded, activation)
        else:
            code_parameter_(layer, name, coded)


def _take_weight_out(module: nn.Module, name: str) -> None:
    """Undo `insert_weight`, leaving no weight.

    PyTorch's own function takes the property from the class, which copies of the module share (2.13).
    """
    lists: Any = module.parametrizations
    del lists[name]
    if not len(lists):
        del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    module._parameters[name] = None
