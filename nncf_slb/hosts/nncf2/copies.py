"""Copies of NNCF networks between two training steps.

NNCF keeps losses with their graphs, in the network's context (distillation) and in controllers that the network knows
(``rb_sparsity``), and PyTorch copies no tensor with a graph (NNCF 2.19.0, torch 2.13.0).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def allow_copies(network: Any) -> None:
    """From now on deep copies of a network hold the numbers of such losses, without their graphs."""
    type(network).__deepcopy__ = _copied  # NNCF makes a class for each network


def _copied(network: Any, memo: dict[int, Any]) -> Any:
    duplicate = network.__class__.__new__(network.__class__)
    memo[id(network)] = duplicate
    with _without_graphs():
        duplicate.__dict__.update(copy.deepcopy(network.__dict__, memo))
    return duplicate


@contextmanager
def _without_graphs() -> Iterator[None]:
    shipped = Tensor.__deepcopy__

    def copied(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
        if tensor.is_leaf:
            return shipped(tensor, memo)  # type: ignore[no-any-return, no-untyped-call]
        memo[id(tensor)] = duplicate = tensor.detach().clone()
        return duplicate

    torch.Tensor.__deepcopy__ = copied  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.__deepcopy__ = shipped  # type: ignore[method-assign]
