"""Copies of NNCF networks between two training steps.

NNCF keeps losses with their graphs, in the network's context (distillation) and in controllers that the network knows
(``rb_sparsity``). PyTorch copies no tensor with a graph, so a copy by whomever leaves the graphs out (NNCF 2.19.0).
"""

from __future__ import annotations

import copy
from typing import Any

from nncf_slb.hosts.copying import without_graphs


def allow_copies(network: Any) -> None:
    """From now on deep copies of a network hold the numbers of such losses, without their graphs."""
    type(network).__deepcopy__ = _copied  # NNCF makes a class for each network


def _copied(network: Any, memo: dict[int, Any]) -> Any:
    duplicate = network.__class__.__new__(network.__class__)
    memo[id(network)] = duplicate
    with without_graphs():
        duplicate.__dict__.update(copy.deepcopy(network.__dict__, memo))
    return duplicate
