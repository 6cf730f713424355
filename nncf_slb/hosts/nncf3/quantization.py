"""NNCF's own 8-bit quantization of activations, and of the layers that a search leaves alone."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Mapping
from typing import Any

import nncf
import torch
from nncf.torch.function_hook.nncf_graph.nncf_graph_builder import build_nncf_graph
from nncf.torch.function_hook.wrapper import is_wrapped, wrap_model
from torch import nn
from torch.utils._pytree import tree_map

from nncf_slb.config.errors import ConfigError
from nncf_slb.config.section import FULL_PRECISION, scope_list
from nncf_slb.hosts.compression import Compression
from nncf_slb.hosts.inputs import Data
from nncf_slb.hosts.installed import MissingHostError
from nncf_slb.hosts.nncf3.insertion import by_name_or_place, caller, example
from nncf_slb.hosts.torch.planning import matches

_KEYS = ("algorithm", "preset", "initializer", "ignored_scopes", "weights", "activations")
_SAMPLES, _EIGHT = 300, 8


def refuse_quantization(compression: Compression, data: Data) -> None:
    """Check a quantization section.

    Raises:
        ConfigError: On settings that NNCF's post-training quantization does not have, or without data.
    """
    if problems := _problems(compression.quantization, compression, data):
        raise ConfigError(problems)


def quantized(model: nn.Module, section: Mapping[str, Any], data: Data) -> nn.Module:
    """A copy of a network with NNCF's quantizers, ranges measured with the data."""
    batches = data.batches
    assert batches is not None  # by `refuse_quantization`
    device = next(model.parameters()).device

    def arguments(batch: Any) -> Any:
        moved = tree_map(lambda x: x.to(device) if isinstance(x, torch.Tensor) else x, batches.inputs(batch))
        return by_name_or_place(model, moved)

    ranges = section.get("initializer", {}).get("range", {})
    preset = section.get("preset")
    return nncf.quantize(  # type: ignore[no-any-return]
        model,
        nncf.Dataset(list(batches.take_samples(ranges.get("num_init_samples", _SAMPLES))), arguments),
        preset=None if preset is None else nncf.QuantizationPreset(preset),
        subset_size=max(1, ranges.get("num_init_samples", _SAMPLES) // max(1, batches.batch_size or 1)),
        ignored_scope=nncf.IgnoredScope(names=_ignored(model, section, example(model, data)), validate=False),
    )


def _problems(section: Any, compression: Compression, data: Data) -> list[str]:
    path, problems = "compression.quantization", []
    unknown = [key for key in section if key not in _KEYS]
    if unknown:
        problems.append(
            f"{path}: received {', '.join(unknown)}; allowed with the host nncf3: {', '.join(_KEYS)}. Remove it"
        )
    for kind in ("weights", "activations"):
        bits = section.get(kind, {}).get("bits", _EIGHT)
        if bits != _EIGHT:
            problems.append(f"{path}.{kind}.bits: received {bits}; allowed with the host nncf3: 8. Remove it")
    if compression.slb.activations.bits != FULL_PRECISION:
        problems.append(
            f"{compression.path}.activations.bits: received {compression.slb.activations.bits} beside quantization, "
            f"which quantizes the same inputs; allowed: {FULL_PRECISION}. Remove one of them"
        )
    if data.batches is None:
        problems.append(f"{path}: received no data loader; allowed with one, to measure ranges with. Pass loader")
    return problems


def _ignored(model: nn.Module, section: Mapping[str, Any], inputs: Any) -> list[str]:
    """NNCF's names of the functions that a section leaves out, by their own or by the path of the module that calls."""
    scopes = scope_list(section.get("ignored_scopes"))
    nodes = build_nncf_graph(wrap_model(copy.deepcopy(model)), inputs).get_all_nodes() if scopes else []
    names = [node.node_name for node in nodes]
    return [name for name in names if matches(caller(name), scopes) or matches(name, scopes)]


def strip_quantization(network: nn.Module, data: Data) -> nn.Module:
    """NNCF's own strip of what is left of its hooks; a network without any stays as it is."""
    if not is_wrapped(network):
        return network
    if importlib.util.find_spec("torchao") is None:
        raise MissingHostError(
            "stripping what NNCF 3 has quantized needs the package torchao, which NNCF does not install. Install it "
            "with: pip install torchao"
        )
    return nncf.strip(network, do_copy=False, example_input=example(network, data))  # type: ignore[no-any-return]
