"""Recipes for other hosts than NNCF 2.19: its names of layers as paths of modules."""

from __future__ import annotations

import copy
import re
from typing import Any

_REGULAR_EXPRESSION = "{re}"
_BUILDERS = "nncf2"


def for_host(config: dict[str, Any], host: str) -> dict[str, Any]:
    """A config whose scopes are those of a host; the very config for NNCF 2.19, whose names recipes use."""
    if host == _BUILDERS:
        return config
    config = copy.deepcopy(config)
    _rename(config)
    return config


def _rename(node: Any) -> None:
    if isinstance(node, list):
        for part in node:
            _rename(part)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("ignored_scopes", "target_scopes") and isinstance(value, list):
                node[key] = [_as_path(scope) for scope in value]
            else:
                _rename(value)


def _as_path(scope: str) -> str:
    r"""``{re}\[convs\]/NNCFConv2d\[0\]`` is ``{re}(^|\.)convs\.0(\.|$)``; scopes without brackets stay."""
    pattern = scope.removeprefix(_REGULAR_EXPRESSION)
    if not scope.startswith(_REGULAR_EXPRESSION) or r"\[" not in pattern:
        return scope
    pattern = re.sub(r"NNCF\w+", "", pattern)
    pattern = pattern.replace(r"\]/\[", r"\.")
    return _REGULAR_EXPRESSION + pattern.replace(r"\[", r"(^|\.)").replace(r"\]", r"(\.|$)")
