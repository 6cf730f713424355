"""The data loader that the user registered with NNCF."""

from __future__ import annotations

from typing import Any

from nncf import NNCFConfig
from nncf.config.structures import BNAdaptationInitArgs

from nncf_slb.search.batches import Batches

REGISTER_LOADER = "Call nncf.torch.register_default_init_args(config, train_loader) before create_compressed_model"


def registered_loader(config: NNCFConfig) -> Any | None:
    """NNCF's initializing data loader that the user registered; None where there is none."""
    if not config.has_extra_struct(BNAdaptationInitArgs):
        return None
    return config.get_extra_struct(BNAdaptationInitArgs).data_loader


def registered_batches(config: NNCFConfig) -> Batches | None:
    """Its batches; a loader with a `batch_sampler` does not say how many samples they have."""
    loader = registered_loader(config)
    return None if loader is None else Batches(loader, loader.get_inputs, getattr(loader, "batch_size", None))


def length_of(config: NNCFConfig) -> int | None:
    """Batches in the registered loader; None without one, or where it has no length."""
    loader = registered_loader(config)
    try:
        return None if loader is None else len(loader)
    except (TypeError, NotImplementedError):
        return None
