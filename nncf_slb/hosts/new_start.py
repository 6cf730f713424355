"""Float weights that are loaded into a searched network: the search begins anew at them.

A state dict of the float network has no number of the search, so a load that does not ask for all keys would leave
distributions, scales and means as they were, without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import nn

from nncf_slb.search.searchable import SearchableWeight

logger = logging.getLogger("nncf_slb")


class NewStart:
    """Hooks around ``load_state_dict`` of one network; its copies have them without effect.

    Args:
        network: The network.
        weights: Searched weights by the name that the float network's state dict has for their layer's weight.
        kept_as: Names of the searched network's state dict for the same tensors, where they differ.
    """

    def __init__(self, network: nn.Module, weights: Mapping[str, SearchableWeight], kept_as: Mapping[str, str]) -> None:
        self._weights, self._kept_as = dict(weights), dict(kept_as)
        paths = {id(module): path for path, module in network.named_modules()}
        self._paths = {name: f"{paths[id(weight)]}." for name, weight in weights.items()}
        self._new: list[str] = []
        network.register_load_state_dict_pre_hook(self.before)  # type: ignore[no-untyped-call]
        network.register_load_state_dict_post_hook(self.after)  # type: ignore[no-untyped-call]

    def before(self, network: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        """Find float weights without numbers of the search, and give them the names that the network loads."""
        searched = {key.removeprefix(prefix) for key in state}
        self._new = [
            name
            for name, path in self._paths.items()
            if name in searched and not any(key.startswith(path) for key in searched)
        ]
        for name in self._new:
            if name in self._kept_as:
                state[prefix + self._kept_as[name]] = state.pop(prefix + name)

    def after(self, network: nn.Module, incompatible: Any) -> None:
        """Let the search begin at them."""
        for name in self._new:
            self._weights[name].restart()
        if self._new:
            logger.warning(
                "slb: float weights were loaded into a searched network, so the search begins anew at them: %s. Load "
                "them before the network is created, to measure with them as well", ", ".join(self._new),
            )  # fmt: skip
        self._new = []

    def __deepcopy__(self, memo: dict[int, Any]) -> NewStart:
        inert = NewStart.__new__(NewStart)
        inert._weights, inert._kept_as, inert._paths, inert._new = {}, {}, {}, []
        return inert

    def __reduce__(self) -> tuple[Any, ...]:
        return _inert, ()


def _inert() -> NewStart:
    return NewStart(nn.Module(), {}, {})
