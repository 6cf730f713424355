"""What is checked of a network before NNCF touches it, where NNCF and torch would fail with errors of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.spectral_norm import SpectralNorm

from nncf_slb.hosts.model_checks import ModelError, model_problems
from nncf_slb.hosts.nncf2.modules import register_subclasses
from nncf_slb.hosts.nncf2.planning import COMPUTED, UnsupportedLayersError
from nncf_slb.search.channels import SEARCHABLE_LAYERS


def prepare_model(model: nn.Module, nncf_config: Mapping[str, Any]) -> None:
    """Check a network that is about to be searched, and register its subclasses of torch's layers with NNCF.

    Raises:
        ModelError: With every reason why NNCF could not trace it.
        UnsupportedLayersError: Naming layers whose weights a hook of torch computes.
    """
    problems = list(_problems(model, nncf_config))
    if problems:
        raise ModelError("\n".join(problems))
    hooked = [f"  {name}: {COMPUTED}{remedy}" for name, remedy in _computed_by_hooks(model)]
    if hooked:
        raise UnsupportedLayersError(
            f"slb cannot search {len(hooked)} of the layers in scope, and NNCF cannot trace them in any scope:\n"
            + "\n".join(hooked)
        )
    register_subclasses(model)


def _problems(model: nn.Module, nncf_config: Mapping[str, Any]) -> Iterator[str]:
    yield from model_problems(model)
    if any(map(is_lazy, model.parameters())):
        return
    if isinstance(model, SEARCHABLE_LAYERS):
        yield (
            f"model: received {type(model).__name__}, a single layer, which NNCF cannot replace; allowed is a module "
            "that holds layers. Pass torch.nn.Sequential(layer)"
        )
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()} - {torch.float32}
    if kinds and nncf_config.get("input_info"):
        received = ", ".join(sorted(map(str, kinds)))
        yield (
            f"model: received parameters of {received}; allowed with input_info, whose tensors are torch.float32: that "
            "type. Call model.float(), and torch.set_default_dtype(torch.float32) if you changed it, before "
            "create_compressed_model; train in lower precision with torch.autocast"
        )


def _computed_by_hooks(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Layers whose ``weight`` is no parameter any more, by a hook that NNCF does not carry along."""
    for name, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                yield name, " with torch.nn.utils.remove_spectral_norm"
            elif hasattr(hook, "compute_mask"):  # torch.nn.utils.prune, which torch does not load by itself
                yield name, " with torch.nn.utils.prune.remove"
