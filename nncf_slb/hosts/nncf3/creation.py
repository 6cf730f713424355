"""`create_compressed_model` by NNCF's function hooks, with its own quantization beside the search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from nncf_slb.hosts.compression import Compression
from nncf_slb.hosts.controller import SearchController
from nncf_slb.hosts.inputs import Data
from nncf_slb.hosts.model_checks import ModelError
from nncf_slb.hosts.new_start import NewStart
from nncf_slb.hosts.nncf3.insertion import insert_search, strip
from nncf_slb.hosts.nncf3.quantization import quantized, refuse_quantization, strip_quantization
from nncf_slb.hosts.torch.planning import Plan
from nncf_slb.hosts.torch.search import Inserted
from nncf_slb.hosts.torch.training import Way
from nncf_slb.hosts.torch.training import create as create_in_some_way


def create(
    model: nn.Module, compression: Compression, data: Data, state: Mapping[str, Any] | None
) -> tuple[SearchController, nn.Module]:
    """Put a search into a network, in place but for NNCF's quantization, which makes a copy.

    Arguments and errors as for `nncf_slb.hosts.torch.training.create`.
    """
    if isinstance(model, nn.Sequential):
        raise ModelError(
            "model: received an nn.Sequential itself, whose layers NNCF's function hooks cannot name; allowed is a "
            "module that holds it. Wrap it in a module of your own, or use the host torch"
        )
    if compression.quantization is not None:
        refuse_quantization(compression, data)

    def prepare(network: nn.Module) -> nn.Module:
        return network if compression.quantization is None else quantized(network, compression.quantization, data)

    def insert(network: nn.Module, plan: Plan, config: Any, bits: Any) -> Inserted:
        return insert_search(network, plan, config, bits, data)

    def strip_all(network: nn.Module) -> nn.Module:
        return strip_quantization(strip(network), data)

    way = Way("nncf3", prepare, insert, strip_all, _first_hook, _take_new_starts)
    return create_in_some_way(model, compression, data, state, way)


def _first_hook(inserted: Inserted) -> nn.Module:
    """A hook, since NNCF's `load_from_config` makes hooks and no buffers of the network."""
    return inserted.search.weights[0]


def _take_new_starts(model: nn.Module, inserted: Inserted) -> NewStart:
    return NewStart(model, {inserted.float_names[path]: weight for path, weight in inserted.searched.items()}, {})
