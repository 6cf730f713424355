"""JSON schema of a pydantic model without references, and its nodes in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def inlined_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema without ``$ref``, so that it can stand inside another schema."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, list):
            return [inline(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = {**definitions.get(str(node.get("$ref", "")).removeprefix("#/$defs/"), {}), **node}
        return {key: inline(value) for key, value in node.items() if key not in ("$ref", "title")}

    result: dict[str, Any] = inline(schema)
    return result


def describe_allowed(schema: Mapping[str, Any]) -> str:
    """What a node of the schema allows, in words: ``an integer from 1 to 4``.

    Says nothing of null, which stands for a setting that is left out. A node that has words of its own under
    ``allowed`` is described by them.
    """
    if "allowed" in schema:
        return str(schema["allowed"])
    if "anyOf" in schema:
        branches = [branch for branch in schema["anyOf"] if branch.get("type") != "null"]
        return ", or ".join(describe_allowed(branch) for branch in branches)
    if "enum" in schema or "const" in schema:
        choices = [json.dumps(choice) for choice in schema.get("enum", [schema.get("const")])]
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    kind = schema["type"][0] if isinstance(schema["type"], list) else schema["type"]
    if kind == "object":
        return f"an object with any of the keys {', '.join(schema['properties'])}"
    if kind == "array":
        return _describe_list(schema)
    names = {"integer": "an integer", "number": "a number", "boolean": "true or false", "string": "a non-empty string"}
    return names[kind] + _describe_range(schema)


def _describe_list(schema: Mapping[str, Any]) -> str:
    names = {"integer": "integers", "number": "numbers", "string": "non-empty strings", "object": "objects"}
    plural = names[schema["items"]["type"]] + _describe_range(schema["items"])
    different = "different " if schema.get("uniqueItems") else ""
    least, most = schema.get("minItems"), schema.get("maxItems")
    count = f"{least} to {most} " if most else ""
    return f"a {'non-empty ' if least == 1 and not most else ''}list of {count}{different}{plural}"


def _describe_range(schema: Mapping[str, Any]) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {_number(schema[key])}" for key, word in words.items() if key in schema]
    if "minimum" in schema and "maximum" in schema:
        return f" from {_number(schema['minimum'])} to {_number(schema['maximum'])}"
    return f" {' and '.join(limits)}" if limits else ""


def _number(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else f"{limit:g}"
