"""Puts searched weights and quantizers into a network as NNCF's function hooks, and takes them out again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from nncf.torch.function_hook.hook_storage import decode_hook_name
from nncf.torch.function_hook.nncf_graph.nncf_graph_builder import build_nncf_graph
from nncf.torch.function_hook.wrapper import (
    ATR_HOOK_STORAGE,
    get_hook_storage,
    is_wrapped,
    register_post_function_hook,
    register_pre_function_hook,
    wrap_model,
)
from nncf.torch.graph import operator_metatypes as om
from nncf.torch.model_graph_manager import get_const_node
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from nncf_slb.config.section import FULL_PRECISION, SLBConfig
from nncf_slb.hosts.inputs import Data
from nncf_slb.hosts.model_checks import ModelError
from nncf_slb.hosts.nncf3.hooks import FixedWeightHook, QuantizerHook, SearchHook
from nncf_slb.hosts.torch.planning import Plan
from nncf_slb.hosts.torch.search import Inserted, Kinds, inputs_of, make_search
from nncf_slb.openvino.call_form import Arguments
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.fast_path import run_all_layers_
from nncf_slb.search.runtime import Codes, FixedWeight, code_parameter_, is_layer, make_low_bit_
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState
from nncf_slb.search.strip import codes_of, fixed_activation

_KINDS = Kinds(SearchHook, FixedWeightHook, QuantizerHook)
# Kinds of the functions that run the layers of `SEARCHABLE_LAYERS`.
_WITH_WEIGHTS = [
    om.PTConv1dMetatype, om.PTConv2dMetatype, om.PTConv3dMetatype, om.PTConvTranspose1dMetatype,
    om.PTConvTranspose2dMetatype, om.PTConvTranspose3dMetatype, om.PTDepthwiseConv1dSubtype,
    om.PTDepthwiseConv2dSubtype, om.PTDepthwiseConv3dSubtype, om.PTLinearMetatype,
]  # fmt: skip


def insert_search(network: nn.Module, plan: Plan, config: SLBConfig, bits: Mapping[str, int], data: Data) -> Inserted:
    """Put the modules of a plan into a network, in place.

    Args:
        network: Network, wrapped by NNCF or not.
        plan: Layers to search, and edges.
        config: Settings.
        bits: Bits of the layers whose settings say ``auto``, by path.
        data: With an example to find the functions with whose inputs are quantized.

    Raises:
        ModelError: If NNCF cannot make its graph of the network, where that is needed.
    """
    # Functions matter where their inputs are quantized, and where NNCF has put quantizers in front of their weights.
    quantized = any(inputs_of(path, plan, config).bits != FULL_PRECISION for path in plan.searched | plan.edges)
    readers = _readers(network, data) if quantized or is_wrapped(network) else []
    inserted = make_search(network, plan, config, bits, _KINDS)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    wrap_model(network)
    done: set[str] = set()
    for path, place in inserted.places.items():
        name = names[id(getattr(*place))]
        if name not in done:
            register_post_function_hook(network, op_name=name, port_id=0, hook=inserted.weights[path])
            done.add(name)
    for reader in readers:
        if reader.parameter in done:
            _take_out(network, reader)
            quantizer = inserted.quantizers.get(reader.layer)
            if quantizer is not None:
                register_pre_function_hook(network, op_name=reader.function, port_id=0, hook=quantizer)
    inserted.search.watch(network)
    run_all_layers_(network)
    return inserted


class _Reader(NamedTuple):
    """A function that computes with a parameter as its weight, by NNCF's names."""

    parameter: str
    function: str
    port: int

    @property
    def layer(self) -> str:
        """Path of the module that calls the function: ``a/b/conv2d/0`` is a call of ``a.b``."""
        return caller(self.function)


def caller(function: str) -> str:
    """Path of the module that calls a function, from NNCF's name of it."""
    return function.rsplit("/", 2)[0].replace("/", ".")


def by_name_or_place(network: nn.Module, arguments: Arguments) -> Any:
    """Arguments in the form that NNCF takes: a tuple, or a dictionary where some have names."""
    args, kwargs = arguments
    return {**inspect.signature(network.forward).bind(*args, **kwargs).arguments} if kwargs else tuple(args)


def example(network: nn.Module, data: Data) -> Any:
    """The example in that form, on the network's device."""
    assert data.example is not None  # without one there is no quantization, and nothing is traced
    device = next(network.parameters()).device
    moved = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, data.example)
    return by_name_or_place(network, moved)


def _readers(network: nn.Module, data: Data) -> list[_Reader]:
    """Functions that use parameters as their weights, as NNCF's own pruning finds them.

    Raises:
        ModelError: If NNCF cannot make its graph of the network.
    """
    try:
        graph = build_nncf_graph(network, example(network, data))
    except Exception as error:  # whatever NNCF's tracing raises (3.4.0: of functions that get all arguments by name)
        raise ModelError(
            f"model: received a network of which NNCF cannot make its graph ({type(error).__name__}: {error}); it is "
            "needed where inputs are quantized. Use the host torch, or leave inputs in 32 bits"
        ) from error
    readers = []
    for node in graph.get_nodes_by_metatypes(_WITH_WEIGHTS):
        for port in node.layer_attributes.constant_port_ids.intersection(node.metatype.weight_port_ids):
            constant = get_const_node(node, port, graph)
            if constant is not None:
                readers.append(_Reader(constant.node_name, node.node_name, port))
    return readers


def _take_out(network: nn.Module, reader: _Reader) -> None:
    """Remove NNCF's quantizers of a weight that is searched or rounded here."""
    storage = get_hook_storage(network)
    for name, _ in list(storage.named_hooks(remove_duplicate=False)):
        if decode_hook_name(name) == ("pre_hooks", reader.function, reader.port):
            storage.delete_hook(name)


def strip(network: nn.Module) -> nn.Module:
    """Turn searched and fixed weights of a copy into low-bit layers, in place; hooks of others stay.

    Raises:
        nncf_slb.search.strip.StripError: If a quantizer of inputs has seen no data.
    """
    SearchState.unwatch(network)
    storage = get_hook_storage(network)
    weights: dict[str, SearchableWeight | FixedWeight] = {}
    quantizers: dict[str, ActivationQuantizer] = {}
    for hook_name, hook in list(storage.named_hooks(remove_duplicate=False)):
        _, operation, _ = decode_hook_name(hook_name)
        if isinstance(hook, SearchableWeight | FixedWeight):
            weights[operation] = hook
        elif isinstance(hook, ActivationQuantizer):
            quantizers[caller(operation)] = hook
        else:
            continue
        storage.delete_hook(hook_name)
    activations = {quantizer: fixed_activation(quantizer) for quantizer in dict.fromkeys(quantizers.values())}
    for module, name, coded in _places(network, weights):
        path = next(path for path, other in network.named_modules() if other is module)
        quantizer = quantizers.get(path)
        if name == "weight" and is_layer(module):
            make_low_bit_(module, coded(), None if quantizer is None else activations[quantizer])
        else:
            code_parameter_(module, name, coded())
    if storage.is_empty():
        _unwrap(network)
    return network


def _places(
    network: nn.Module, weights: Mapping[str, SearchableWeight | FixedWeight]
) -> list[tuple[nn.Module, str, Callable[[], Codes]]]:
    """Modules, names of their parameters and what makes the codes, also where modules share a parameter."""
    parameters = dict(network.named_parameters())
    by_id = {id(parameters[name]): codes_of(weight) for name, weight in weights.items()}
    found: list[tuple[nn.Module, str, Callable[[], Codes]]] = []
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) in by_id:
                found.append((module, name, partial(_copied, by_id[id(parameter)])))
    return found


def _copied(codes: Codes) -> Codes:
    return Codes(codes.codes.clone(), codes.values.clone(), codes.scale.clone(), codes.bits)


def _unwrap(network: nn.Module) -> None:
    """Undo NNCF's `wrap_model`."""
    if is_wrapped(network):
        for name in ("forward", "_replicate_for_data_parallel"):
            network.__dict__.pop(name, None)
        del network._modules[ATR_HOOK_STORAGE]
