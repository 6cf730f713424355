"""`create_compressed_model` for every host."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from torch import nn

from nncf_slb.errors import SettingError
from nncf_slb.hosts import installed
from nncf_slb.hosts.compression import DISTILLATION, QUANTIZATION, SLB, parse_compression, read_whole_config
from nncf_slb.hosts.inputs import Data
from nncf_slb.hosts.model_checks import FUNCTION_HOOKS
from nncf_slb.hosts.resuming import state_of_slb
from nncf_slb.search.batches import Inputs, first_of_batch

HostName = Literal["torch", "nncf2", "nncf3"]
HOSTS: tuple[HostName, ...] = get_args(HostName)
_ALGORITHMS = {"torch": (SLB, DISTILLATION), "nncf3": (SLB, DISTILLATION, QUANTIZATION)}


def create_compressed_model(
    model: nn.Module,
    config: Mapping[str, Any] | str | os.PathLike[str],
    loader: Iterable[Any] | None = None,
    *,
    example_input: Any = None,
    inputs: Inputs = first_of_batch,
    compression_state: Mapping[str, Any] | None = None,
    host: HostName | None = None,
) -> tuple[Any, nn.Module]:
    """Put a search into a network, in place.

    Args:
        model: Float network, on any device and in any mode.
        config: NNCF config: a dictionary, an `NNCFConfig`, or the path of JSON.
        loader: Training batches, which measure first steps of quantized inputs, sensitivities and batch norm. Labels
            are not used.
        example_input: What the network is run with once, in the forms of `export_openvino`. By default ``input_info``
            of the config, else the first batch.
        inputs: Positional and keyword arguments of the network from a batch of the loader; by default a tensor, or the
            first entry of a tuple or list.
        compression_state: What ``ctrl.get_compression_state()`` gave, also with another host, to go on from there. Load
            the network's state dict afterwards.
        host: How the search gets into the network: ``nncf2`` (NNCF 2.19's builders), ``nncf3`` (function hooks of
            NNCF 3, or of 2.19 without its legacy tracing) or ``torch`` (parametrizations, no NNCF). By default what
            fits the NNCF that is installed, and ``torch`` without one.

    Returns:
        Controller and network. The controller has NNCF's methods in every host: ``scheduler``, ``loss``,
        ``statistics()``, ``compression_stage()``, ``get_compression_state()``, ``strip()``, ``export_model()``.

    Raises:
        nncf_slb.config.errors.ConfigError: With every problem of the config, or of how it fits the network.
        nncf_slb.errors.SettingError: On arguments that cannot be used.
        nncf_slb.errors.DataError: On a loader that gives nothing.
        nncf_slb.hosts.installed.MissingHostError: If the host is not installed.
        nncf_slb.hosts.model_checks.ModelError: If the network cannot be searched.
        nncf_slb.hosts.torch.planning.NothingToSearchError: If no layer is left to search.
        nncf_slb.openvino.low_bit_model.ExportError: If the network cannot be exported.

    Example:
        >>> config = {"epochs": 8, "compression": {"algorithm": "slb"}}
        >>> ctrl, model = create_compressed_model(model, config, loader)  # doctest: +SKIP
    """
    chosen = _host(model, host)
    if chosen == "nncf2":
        installed.load_nncf()
        from nncf_slb.hosts.nncf2.creation import create as create_with_nncf2

        return create_with_nncf2(model, config, loader, example_input, inputs, compression_state)
    compression = parse_compression(read_whole_config(config), chosen, _ALGORITHMS[chosen])
    if compression_state is not None:
        state_of_slb(compression_state)
    data = Data.of(loader, inputs, example_input, compression)
    if chosen == "nncf3":
        installed.require_function_hooks()
        from nncf_slb.hosts.nncf3.creation import create as create_with_nncf3

        return create_with_nncf3(model, compression, data, compression_state)
    from nncf_slb.hosts.torch.training import create as create_with_torch

    return create_with_torch(model, compression, data, compression_state)


def default_host() -> HostName:
    """The host that fits what is installed."""
    if installed.has_builders():
        return "nncf2"
    return "nncf3" if installed.has_function_hooks() else "torch"


def _host(model: nn.Module, host: str | None) -> str:
    if host is not None:
        if host not in HOSTS:
            raise SettingError(f"host: received {host!r}; allowed are {', '.join(HOSTS)}, and None for what fits")
        return host
    if isinstance(model, nn.Module) and hasattr(model, FUNCTION_HOOKS):
        return "nncf3"
    default = default_host()
    # A network that is an nn.Sequential itself confuses the names of NNCF's function hooks.
    return "torch" if default == "nncf3" and isinstance(model, nn.Sequential) else default
