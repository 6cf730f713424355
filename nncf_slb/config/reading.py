"""JSON files of configs: read with a line for each problem of their text, which Python's reader would pass over."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nncf_slb.config.errors import structure_problems
from nncf_slb.errors import printable


class UnreadableConfigError(ValueError):
    """A file that holds no JSON object; the message names the file and the reason."""


class MissingConfigError(UnreadableConfigError):
    """A file that is not there, or cannot be opened."""


class _Object(dict[str, Any]):
    """A JSON object that remembers the keys it had twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.repeated = sorted({key for key in keys if keys.count(key) > 1})


def read_config_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The JSON object of a file, and its problems: keys that stand twice, and numbers that are not finite.

    Raises:
        MissingConfigError: If the file cannot be read.
        UnreadableConfigError: If it is not JSON, or no object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_Object)
    except FileNotFoundError:
        raise MissingConfigError(f"'{printable(path)}' does not exist") from None
    except OSError as error:
        raise MissingConfigError(f"'{printable(path)}' cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableConfigError(f"'{printable(path)}' is not JSON ({printable(error)})") from None
    if deep := structure_problems(config):
        raise UnreadableConfigError(f"'{printable(path)}' cannot be checked ({deep[0]})")
    if not isinstance(config, dict):
        raise UnreadableConfigError(f"'{printable(path)}' holds {type(config).__name__}; it must hold one JSON object")
    problems = list(_problems(config, ""))
    plain: dict[str, Any] = _plain(config)
    return plain, problems


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list) else node


def _problems(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, _Object):
        for key in node.repeated:
            yield f"{path}{'.' if path else ''}{printable(key)}: received twice; allowed: once. Remove one of them"
        for key, value in node.items():
            yield from _problems(value, f"{path}{'.' if path else ''}{printable(key)}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _problems(value, f"{path}[{index}]")
    elif isinstance(node, float) and not math.isfinite(node):
        yield f"{path}: received {json.dumps(node)}; allowed: a finite number. Change it"


def add_problems_of_text(problems: list[str], of_text: list[str]) -> list[str]:
    """All problems, without those of the text with a setting that a check of its meaning names already."""
    named = {problem.split(": ")[0] for problem in problems}
    below = tuple(setting + mark for setting in named for mark in (": ", ".", "["))
    return problems + [problem for problem in of_text if not problem.startswith(below)]
