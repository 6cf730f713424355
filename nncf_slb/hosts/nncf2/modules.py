"""Lets NNCF 2.19 hook layers that it leaves out: subclasses of torch's layers, and layers that are called by keyword.

NNCF replaces modules whose class is exactly one of torch's. For others it has `nncf.torch.register_module`; subclasses
of the searchable layers are registered that way here, under names that cannot collide.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from nncf.common.graph.layer_attributes import GenericWeightedLayerAttributes, GroupNormLayerAttributes
from nncf.torch.dynamic_graph import wrappers
from nncf.torch.dynamic_graph.context import get_current_context
from nncf.torch.layer_utils import _NNCFModuleMixin
from nncf.torch.layers import (
    NNCF_MODULES_DICT,
    NNCF_WRAPPED_USER_MODULES_DICT,
    UNWRAPPED_USER_MODULES,
    NNCFConv1d,
    NNCFConv2d,
    NNCFConv3d,
    NNCFLinear,
    register_module,
)
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.channels import SEARCHABLE_LAYERS
from nncf_slb.search.runtime import FixedWeight
from nncf_slb.search.searchable import SearchableWeight

# Layers that compute with a weight other than their own when they are handed one.
_TAKE_A_WEIGHT = (NNCFConv1d, NNCFConv2d, NNCFConv3d, NNCFLinear)


def plain_class(layer: nn.Module) -> type[nn.Module] | None:
    """Class of a layer before NNCF replaced it: one of torch's own or of the user's; None where NNCF did not."""
    kind = type(layer)
    users = {wrapped: original for original, wrapped in NNCF_WRAPPED_USER_MODULES_DICT.items()}
    return NNCF_MODULES_DICT.get(kind) or users.get(kind)


def register_subclasses(model: nn.Module) -> None:
    """Register the classes of a model's layers that derive from the searchable ones with NNCF."""
    for layer in _subclassed(model):
        kind = type(layer)
        if kind not in UNWRAPPED_USER_MODULES.registry_dict.values():
            register_module()(kind)
            # NNCF looks a class up by its value in this registry, whose keys are bare names: two may be equal.
            UNWRAPPED_USER_MODULES.registry_dict[f"{kind.__module__}.{kind.__qualname__}"] = kind


def _subclassed(model: nn.Module) -> Iterator[nn.Module]:
    inside = {id(child) for m in model.modules() if isinstance(m, nn.MultiheadAttention) for child in m.modules()}
    for module in model.modules():
        kind = type(module)
        is_unwrapped = isinstance(module, SEARCHABLE_LAYERS) and not isinstance(module, _NNCFModuleMixin)
        if is_unwrapped and kind not in SEARCHABLE_LAYERS and id(module) not in inside and not is_parametrized(module):
            yield module


def _run_directly(layer: Any, args: tuple[Any, ...]) -> Any:
    """What torch's own layer computes, with the weight and the input that slb's operations give; None if others matter.

    NNCF runs each layer on a stand-in for it, and asks each convolution for a value to pad with, which only operations
    of ``quantization`` change. That takes a tenth of a training step of the small ResNet.
    """
    if layer.post_ops._modules:
        return None
    weight = None
    for operation in layer.pre_ops._modules.values():
        if isinstance(operation.op, SearchableWeight | FixedWeight) and type(layer) in _TAKE_A_WEIGHT:
            weight = operation.op
        elif not isinstance(operation.op, ActivationQuantizer):
            return None
    for operation in layer.pre_ops._modules.values():
        if operation.op is not weight:
            args = operation(layer, args)
    if weight is None:
        return super(_NNCFModuleMixin, layer).forward(*args)
    if type(layer) is NNCFLinear:
        return nn.functional.linear(args[0], weight(layer.weight), layer.bias)
    return layer._conv_forward(args[0], weight(layer.weight), layer.bias)


def mend_gaps() -> None:
    """Let NNCF trace norms without weights, call its modules by keyword, and run them directly where it does not trace.

    Safe to call again.
    """
    if hasattr(_NNCFModuleMixin, "_nncf_slb_forward"):
        return
    forward = _NNCFModuleMixin._nncf_slb_forward = _NNCFModuleMixin.forward

    def forward_by_position(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            plain: Any = plain_class(self)
            bound = inspect.signature(plain.forward).bind(self, *args, **kwargs)
            bound.apply_defaults()
            if bound.kwargs:
                raise TypeError(f"{type(self).__name__}: received keyword-only arguments {', '.join(bound.kwargs)}; "
                                "allowed in a network that NNCF compresses are arguments by position")  # fmt: skip
            args = bound.args[1:]
        if get_current_context() is None:
            result = _run_directly(self, args)
            if result is not None:
                return result
        return forward(self, *args)

    _NNCFModuleMixin.forward = forward_by_position
    attributes_of = wrappers.get_layer_attributes_from_args_and_kwargs

    def attributes_without_weight(op_name: str, args: Any, kwargs: Any) -> Any:
        position = {"layer_norm": 2, "group_norm": 2}.get(op_name)
        if position is None or kwargs.get("weight", args[position] if len(args) > position else None) is not None:
            return attributes_of(op_name, args, kwargs)
        if op_name == "layer_norm":
            return GenericWeightedLayerAttributes(weight_requires_grad=True, weight_shape=[], filter_dimension_idx=0)
        channels = int(args[0].shape[1])
        return GroupNormLayerAttributes(weight_requires_grad=True, num_channels=channels, num_groups=args[1])

    wrappers.get_layer_attributes_from_args_and_kwargs = attributes_without_weight
