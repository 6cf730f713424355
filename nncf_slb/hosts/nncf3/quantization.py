"""NNCF's own 8-bit quantization of activations, and of the layers that a search leaves alone."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import Any

import nncf
import torch
from nncf.torch.function_hook.wrapper import is_wrapped
from torch import nn
from torch.utils._pytree import tree_map

from nncf_slb.config.errors import ConfigError
from nncf_slb.config.section import FULL_PRECISION, scope_list
from nncf_slb.hosts.compression import Compression
from nncf_slb.hosts.inputs import Data
from nncf_slb.hosts.installed import MissingHostError

_REGULAR_EXPRESSION = "{re}"
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
        args, kwargs = tree_map(lambda x: x.to(device) if isinstance(x, torch.Tensor) else x, batches.inputs(batch))
        return {**kwargs, "args": args} if kwargs else tuple(args)

    ranges = section.get("initializer", {}).get("range", {})
    preset = section.get("preset")
    return nncf.quantize(  # type: ignore[no-any-return]
        model,
        nncf.Dataset(list(batches.take_samples(ranges.get("num_init_samples", _SAMPLES))), arguments),
        preset=None if preset is None else nncf.QuantizationPreset(preset),
        subset_size=max(1, ranges.get("num_init_samples", _SAMPLES) // max(1, batches.batch_size or 1)),
        ignored_scope=nncf.IgnoredScope(
            patterns=[*map(_pattern, scope_list(section.get("ignored_scopes")))], validate=False
        ),
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


def _pattern(scope: str) -> str:
    """Regular expression for the names of a module's functions: those of ``a.b`` are ``a/b/conv2d/0``."""
    if scope.startswith(_REGULAR_EXPRESSION):
        return scope.removeprefix(_REGULAR_EXPRESSION)
    return f"^{re.escape(scope.replace('.', '/'))}/.*"


def strip_quantization(network: nn.Module, data: Data) -> nn.Module:
    """NNCF's own strip of what is left of its hooks; a network without any stays as it is."""
    if not is_wrapped(network):
        return network
    if importlib.util.find_spec("torchao") is None:
        raise MissingHostError(
            "stripping what NNCF 3 has quantized needs the package torchao, which NNCF does not install. Install it "
            "with: pip install torchao"
        )
    assert data.example is not None  # quantization needs data, and data gives an example
    args, kwargs = data.example
    return nncf.strip(  # type: ignore[no-any-return]
        network, do_copy=False, example_input={**kwargs, "args": args} if kwargs else tuple(args)
    )
