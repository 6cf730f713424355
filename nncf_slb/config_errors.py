"""One readable line for each problem of a config section: field, what was received, what is allowed, what to do."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)
Schema = dict[str, Any]


class ConfigError(ValueError):
    """A config with problems; the message has one line for each.

    Attributes:
        problems: The lines.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{count} in the slb config:\n" + "\n".join(f"  {p}" for p in problems))


def parse_model(model: type[Model], section: Any, path: str) -> Model:
    """Validate a JSON object strictly (no booleans for numbers, no strings for numbers).

    Raises:
        ConfigError: With all problems.
    """
    try:
        return model.model_validate_json(json.dumps(section))
    except ValidationError as error:
        schema = inlined_schema(model)
        raise ConfigError(list(dict.fromkeys(_lines(error, schema, section, path)))) from None
    except (TypeError, ValueError) as error:
        raise ConfigError([f"{path}: received a value that JSON cannot hold ({error}); use plain JSON types"]) from None


def validate_sections(
    model: type[Model], nncf_config: Mapping[str, Any], further: Callable[[Model, Any, str], list[str]]
) -> None:
    """Validate every section of the model's algorithm in an NNCF config; `further` adds problems with the rest of it.

    Raises:
        ConfigError: With all problems.
    """
    problems: list[str] = []
    sections = list(_slb_sections(nncf_config))
    for path, section in sections:
        try:
            problems += further(parse_model(model, section, path), nncf_config, path)
        except ConfigError as error:
            problems += error.problems
    if len(sections) > 1:
        paths = ", ".join(path for path, _ in sections)
        problems.append(f"{paths}: received {len(sections)} slb sections; allowed: one, merge them with weights.overrides")
    if problems:
        raise ConfigError(problems)


def _slb_sections(nncf_config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    compression = nncf_config.get("compression")
    if isinstance(compression, Mapping):
        candidates = [("compression", compression)]
    elif isinstance(compression, list):
        candidates = [(f"compression[{k}]", section) for k, section in enumerate(compression)]
    else:
        return
    for path, section in candidates:
        if isinstance(section, Mapping) and section.get("algorithm") == "slb":
            yield path, section


def inlined_schema(model: type[BaseModel]) -> Schema:
    """JSON schema of a model with every reference replaced by what it refers to."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            target = definitions[node["$ref"].rsplit("/", 1)[1]]
            node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
        return {key: inline(value) for key, value in node.items()}

    result: Schema = inline(schema)
    return result


def _lines(error: ValidationError, schema: Schema, section: Any, path: str) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        location = problem["loc"]
        if problem["type"] == "value_error" and "\n" not in problem["msg"] and _is_values(location):
            yield _wrong_value(location, schema, section, path)
        elif problem["type"] == "value_error":
            prefix = _dotted(path, location)
            for line in problem["msg"].removeprefix("Value error, ").split("\n"):
                yield f"{prefix}.{line}"
        elif problem["type"] == "extra_forbidden":
            yield _unknown_key(location, schema, path)
        elif problem["type"] == "missing":
            field = _schema_at(schema, location)
            yield f"{_dotted(path, location)}: is missing; {_allowed(field)}"
        else:
            yield _wrong_value(location, schema, section, path)


def _is_values(location: tuple[int | str, ...]) -> bool:
    return bool(location) and location[-1] == "values"


def _wrong_value(location: tuple[int | str, ...], schema: Schema, section: Any, path: str) -> str:
    location, received = _existing(location, section)
    field = _schema_at(schema, location)
    hint = _nearest(received, field)
    return f"{_dotted(path, location)}: received {_as_json(received)}; {_allowed(field)}{hint}"


def _existing(location: tuple[int | str, ...], section: Any) -> tuple[tuple[int | str, ...], Any]:
    """Location without pydantic's names of union branches, and the value there."""
    value, kept = section, []
    for part in location:
        inside = part in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(part, int)
        if not inside:
            break
        value = value[part]
        kept.append(part)
    return tuple(kept), value


def _dotted(path: str, location: tuple[int | str, ...]) -> str:
    return path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _as_json(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _schema_at(schema: Schema, location: tuple[int | str, ...]) -> Schema:
    node = schema
    for part in location:
        for option in [node, *node.get("anyOf", [])]:
            child = option.get("items") if isinstance(part, int) else option.get("properties", {}).get(part)
            if child is not None:
                node = child
                break
    return node


def _allowed(field: Schema) -> str:
    default = field.get("default")
    suffix = f" (default {_as_json(default)})" if default is not None and not isinstance(default, (dict, list)) else ""
    return f"allowed: {describe_type(field)}{suffix}"


def describe_type(field: Schema) -> str:
    """What a schema node allows, in words; the same in messages and in the reference."""
    if "anyOf" in field:
        return " or ".join(describe_type(option) for option in field["anyOf"] if option.get("type") != "null")
    if "const" in field:
        return _as_json(field["const"])
    if "enum" in field:
        return ", ".join(_as_json(choice) for choice in field["enum"])
    kind = field.get("type", "")
    if kind in ("integer", "number"):
        return _describe_number(field)
    if kind == "array":
        least, most = field.get("minItems"), field.get("maxItems")
        extent = f" {least} to {most}" if most else ""
        unique = " different" if field.get("uniqueItems") else ""
        plural = {"number": "numbers", "string": "strings"}.get(field["items"].get("type"), "objects")
        return f"a list of{extent}{unique} {plural}"
    return {"string": "a string", "boolean": "true or false", "object": _describe_object(field)}.get(kind, kind)


def _describe_object(field: Schema) -> str:
    return "an object with " + ", ".join(field.get("properties", {}))


def _describe_number(field: Schema) -> str:
    words = ["an integer" if field["type"] == "integer" else "a number"]
    bounds = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    words += [f"{word} {field[key]:g}" for key, word in bounds.items() if key in field]
    return " ".join(words)


def _nearest(received: Any, field: Schema) -> str:
    options = [node for node in [field, *field.get("anyOf", [])] if "enum" in node]
    choices = [choice for node in options for choice in node["enum"]]
    close = difflib.get_close_matches(received, choices, 1, 0.5) if isinstance(received, str) else []
    return f"; did you mean {_as_json(close[0])}?" if close else ""


def _unknown_key(location: tuple[int | str, ...], schema: Schema, path: str) -> str:
    key, parent = str(location[-1]), _schema_at(schema, location[:-1])
    here = list(_properties(parent))
    close = difflib.get_close_matches(key, here, 1, 0.6)
    elsewhere = {name.rsplit(".", 1)[-1]: name for name in _all_keys(schema)}
    if not close and key in elsewhere:
        close = [elsewhere[key]]
    if not close:
        close = [elsewhere[name] for name in difflib.get_close_matches(key, list(elsewhere), 1, 0.6)]
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{_dotted(path, location)}: unknown key{hint}; allowed here: {', '.join(here)}"


def _properties(node: Schema) -> Schema:
    for option in [node, *node.get("anyOf", [])]:
        if "properties" in option:
            properties: Schema = option["properties"]
            return properties
    return {}


def _all_keys(schema: Schema, prefix: str = "") -> Iterator[str]:
    for name, node in _properties(schema).items():
        yield prefix + name
        yield from _all_keys(node, f"{prefix}{name}.")
