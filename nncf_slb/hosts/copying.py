"""Copies of networks that hold tensors with the graph of a pass, which PyTorch refuses to copy (torch 2.13.0)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def copied(network: Network) -> Network:
    """A deep copy, also of a network that keeps tensors of its last pass, such as a map of attention for a plot."""
    with without_graphs():
        return copy.deepcopy(network)


@contextmanager
def without_graphs() -> Iterator[None]:
    """Within it, copies of tensors hold their numbers, without their graphs."""
    shipped = Tensor.__deepcopy__

    def duplicated(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
        if tensor.is_leaf:
            return shipped(tensor, memo)  # type: ignore[no-any-return, no-untyped-call]
        memo[id(tensor)] = duplicate = tensor.detach().clone()
        return duplicate

    torch.Tensor.__deepcopy__ = duplicated  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.__deepcopy__ = shipped  # type: ignore[method-assign]
