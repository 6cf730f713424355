"""One readable line for each problem of a section: field, what was received, what is allowed, what to do."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import ErrorDetails, PydanticCustomError

from nncf_slb.config.schema import describe_allowed
from nncf_slb.errors import SLBError, printable

_DEEPEST = 50  # lists and objects inside each other; NNCF's own sections have less than ten
Schema = Mapping[str, Any]
# Keys and list indices that lead to a field.
Location = tuple[str | int, ...]
# A contradiction between fields: location below the model that finds it, what is allowed, what to do.
Contradiction = tuple[Location, str, str]


class ConfigError(SLBError, ValueError):
    """Everything wrong with the ``"slb"`` sections of a config, one line per problem.

    Attributes:
        problems: The lines: full path of the field, what was received, what is allowed, what to do.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n- ".join([f'{count} in the "slb" section of the config:', *problems]))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return type(self), (list(self.problems),)


def refuse(contradictions: list[Contradiction]) -> None:
    """Raise contradictions from a model's validator, if there are any."""
    if contradictions:
        raise PydanticCustomError("contradiction", "contradiction", {"contradictions": contradictions})


def _node_at(schema: Schema, location: Location) -> Schema:
    """The schema's node of a field, or of the section that holds an unknown key."""
    node = schema
    for part in location:
        node = next((branch for branch in node.get("anyOf", []) if branch.get("type") == "object"), node)
        node = node["items"] if isinstance(part, int) else node["properties"][part]
    return node


def _key_paths(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for branch in [node, *node.get("anyOf", [])]:
        for key, child in branch.get("properties", {}).items():
            yield prefix + key
            yield from _key_paths(child, f"{prefix}{key}.")
            yield from _key_paths(child.get("items", {}), f"{prefix}{key}[].")


def _nearest_key(schema: Schema, key: str, level: str) -> str | None:
    """Path of the valid key most like `key`: the same name anywhere, then a like name in `level`, then anywhere."""
    paths = sorted(_key_paths(schema), key=lambda path: (not path.startswith(level), path.count(".")))
    names = [path.rpartition(".")[2] for path in paths]
    if key in names:
        return paths[names.index(key)]
    level_names = [name for path, name in zip(paths, names, strict=True) if path == level + name]
    for candidates, prefix in ((level_names, level), (names, None)):
        for near in difflib.get_close_matches(key, candidates, 1):
            return paths[names.index(near)] if prefix is None else prefix + near
    return None


def dotted(location: Location) -> str:
    """Path as it stands behind a section's own: ``.weights.overrides[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{printable(part)}" for part in location)


def as_json(value: Any) -> str:
    """JSON text of a value on one line, letters of all languages as they are.

    Raises:
        ValueError, TypeError: More digits than Python writes, or keys that JSON has not.
    """
    return printable(json.dumps(value, default=repr, ensure_ascii=False))


def shown(value: Any) -> str:
    """JSON text of a value, cut where it is long."""
    try:
        text = as_json(value)
    except (ValueError, TypeError):  # more digits than Python writes, or keys that JSON has not
        text = f"{type(value).__name__} that is no JSON"
    return text if len(text) <= 100 else f"{text[:97]}..."


def structure_problems(config: Any, path: str = "") -> list[str]:
    """What no check can follow: keys that are no strings, and lists and objects inside each other without end.

    Args:
        config: A whole config, or a section.
        path: Where it stands; empty for the top level.
    """
    problems: list[str] = []
    level = [(path, config)]
    for _ in range(_DEEPEST):
        wrong = [
            (place, key) for place, node in level if isinstance(node, Mapping) for key in node if type(key) is not str
        ]
        problems += [
            f"{place or 'config'}: received the key {printable(repr(key))}; allowed: strings. Change it"
            for place, key in wrong
        ]
        level = [
            (f"{place}{dotted((key,))}".removeprefix("."), child)
            for place, node in level
            for key, child in _children(node)
        ]
    return problems + [
        f"{'.'.join(place.split('.')[:3])[:100]}: received lists and objects inside each other {_DEEPEST} times; "
        "allowed: fewer. Remove some"
        for place, _ in level[:1]
    ]


def _children(node: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(node, Mapping):
        return [(key, child) for key, child in node.items() if type(key) is str]
    return enumerate(node) if isinstance(node, list | tuple) else ()


def received(section: Any, location: Location) -> str:
    """JSON text of what stands at a location, or ``nothing``."""
    for part in location:
        if isinstance(section, Mapping) and part not in section:
            return "nothing"
        section = section[part]
    return shown(section)


def _unknown_key(schema: Schema, location: Location) -> tuple[str, str]:
    node = _node_at(schema, location[:-1])
    section = next(branch for branch in [node, *node.get("anyOf", [])] if "properties" in branch)
    level = "".join("[]" if isinstance(part, int) else f".{part}" for part in location[:-1]).removeprefix(".")
    nearest = _nearest_key(schema, str(location[-1]), f"{level}." if level else "")
    advice = f"Unknown key: did you mean {nearest}?" if nearest else "Unknown key: remove it"
    return f"the keys {', '.join(section['properties'])}", advice


def _choices(node: Schema) -> list[Any]:
    return list(node.get("enum", [node["const"]] if "const" in node else []))


def _wrong_value(schema: Schema, location: Location, value: Any) -> tuple[str, str]:
    node = _node_at(schema, location)
    choices = [choice for branch in [node, *node.get("anyOf", [])] for choice in _choices(branch)]
    words = [choice for choice in choices if isinstance(choice, str)]
    near = difflib.get_close_matches(value, words, 1) if isinstance(value, str) else []
    advice = "Change it"
    if near:
        advice = f'Did you mean "{near[0]}"?'
    elif node.get("default") is not None:
        advice += f", or remove it for the default, {shown(node['default'])}"
    return describe_allowed(node), advice


def explain(schema: Schema, error: ErrorDetails, section: Any, path: str) -> list[str]:
    """Lines for one of pydantic\'s errors: full path, what was received, what is allowed, what to do."""
    error_location: Location = error["loc"]
    if error["type"] == "contradiction":
        problems = [
            ((*error_location, *below), allowed, advice) for below, allowed, advice in error["ctx"]["contradictions"]
        ]
    elif error["type"] == "extra_forbidden":
        problems = [(error_location, *_unknown_key(schema, error_location))]
    elif error["type"] == "missing":
        problems = [(error_location, describe_allowed(_node_at(schema, error_location)), "Add it")]
    else:
        problems = [(error_location, *_wrong_value(schema, error_location, error["input"]))]
    return [
        f"{path}{dotted(location)}: received {received(section, location)}; allowed: {allowed}. {advice}"
        for location, allowed, advice in problems
    ]
