"""Configs by name, made by rules: what a task's table of recipes and its command share."""

from __future__ import annotations

import copy
import difflib
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Config = dict[str, Any]
_COLUMNS = 100  # of a terminal
# How NNCF's quantization begins where it stands beside slb, whose start has adapted batch norm already.
QUANTIZATION_START: Config = {
    "algorithm": "quantization",
    "initializer": {
        "range": {"num_init_samples": 400},
        "batchnorm_adaptation": {"num_bn_adaptation_samples": 0},
    },
}


class RecipeError(ValueError):
    """A name that no recipe has; the message names the nearest ones."""


class Recipes(Mapping[str, Config]):
    """Recipes of a task by name.

    Args:
        starts: Rules by a name's start (network, data set) and its ending (``float``, ``w2a8``); each makes a config.
    """

    def __init__(self, starts: Mapping[str, Mapping[str, Callable[[], Config]]]) -> None:
        self.starts = starts
        self._rules = {f"{start}_{ending}": rule for start, rules in starts.items() for ending, rule in rules.items()}

    def __getitem__(self, name: str) -> Config:
        """A new config, which the caller may change.

        Raises:
            RecipeError: If there is no such recipe.
        """
        if name in self._rules:
            return copy.deepcopy(self._rules[name]())
        nearest = ", ".join(difflib.get_close_matches(name, self._rules, 3, cutoff=0.4))
        did_you_mean = f"did you mean {nearest}?" if nearest else "there is none with a name like it."
        raise RecipeError(f"recipe: received '{name}'; {did_you_mean} See --list-recipes")

    def __contains__(self, name: object) -> bool:
        return name in self._rules

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def to_str(self) -> str:
        """Table of all names for a terminal: for each start, one kind of endings after the other."""
        width = max(map(len, self.starts)) + 2
        example = next(reversed(self._rules))
        lines = [f"{len(self)} recipes. A name is START_ENDING, such as {example}.", "", f"{'START':{width}}ENDING"]
        for start, rules in self.starts.items():
            for row, kind in enumerate(dict.fromkeys(map(_kind, rules))):
                endings = " ".join(ending for ending in rules if _kind(ending) == kind)
                first = f"{'' if row else start:{width}}"
                lines += textwrap.wrap(endings, _COLUMNS, initial_indent=first, subsequent_indent=" " * width)
        return "\n".join(lines)


def _kind(ending: str) -> str:
    return next((kind for kind in ("float", "paper", "mixed") if kind in ending), "bits")
