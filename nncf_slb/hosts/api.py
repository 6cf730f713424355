"""Functions for the user's training loop that take the controller of any host, or a composite that holds one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from torch import nn

_NAME = "slb"


def searched_network(ctrl: Any) -> AbstractContextManager[nn.Module]:
    """Context in which the model's eval mode runs the expected (continuous) weights.

    Raises:
        TypeError: If `ctrl` neither is nor holds a controller of `slb`.
    """
    for candidate in [ctrl, *getattr(ctrl, "child_ctrls", [])]:
        if hasattr(candidate, "searched_network") and getattr(candidate, "name", None) == _NAME:
            network: AbstractContextManager[nn.Module] = candidate.searched_network()
            return network
    raise TypeError(f"received {type(ctrl).__name__}; allowed is a controller of slb or a composite that holds one")
