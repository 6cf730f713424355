"""Markdown reference of the ``"slb"`` section, made from its model: ``python -m nncf_slb.config.reference FILE``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nncf_slb.config.schema import describe_allowed
from nncf_slb.config.section import json_schema

EXAMPLES: dict[str, dict[str, Any]] = {
    "All defaults: 2-bit weights": {"compression": {"algorithm": "slb"}},
    "4 bits, but ternary values in one stage and 2 bits in the last layer": {
        "compression": {
            "algorithm": "slb",
            "weights": {
                "bits": 4,
                "overrides": [
                    {"target_scopes": "{re}.*layer2.*", "values": "ternary"},
                    {"target_scopes": "{re}.*linear.*", "bits": 2},
                ],
            },
        }
    },
    "Bits of each layer chosen by measurement: 2 on average, but 4 in the last layer": {
        "compression": {
            "algorithm": "slb",
            "weights": {
                "bits": "auto",
                "budget": {"mean_bits": 2.0},
                "overrides": [{"target_scopes": "{re}.*linear.*", "bits": 4}],
            },
        }
    },
    "Bits of each layer chosen so that the exported `.bin` file takes at most 22,000 bytes": {
        "compression": {"algorithm": "slb", "weights": {"bits": "auto", "budget": {"bytes": 22000}}}
    },
    "1-bit weights and 2-bit activations, but 8-bit activations in one stage": {
        "compression": {
            "algorithm": "slb",
            "weights": {"bits": 1},
            "activations": {"bits": 2, "overrides": [{"target_scopes": "{re}.*layer4.*", "bits": 8}]},
        }
    },
    "3-bit weights and NNCF's 8-bit activations": {
        "compression": [
            {"algorithm": "slb", "weights": {"bits": 3}},
            {"algorithm": "quantization", "weights": {"ignored_scopes": ["{re}^(?!.*/[A-Za-z]*Embedding).*$"]}},
        ]
    },
}

_INTRO = """# Config reference

Made from the models in `nncf_slb/config*.py` by `make docs`; edit those, not this file.

Only `algorithm` is required. Where null is allowed, it means the same as leaving the setting out, unless its row
says something else.
A mistake is reported before training, with every other one in the section: its path, what was received, what is
allowed and what to do.
"""


def render() -> str:
    """The whole reference as Markdown."""
    blocks = [_INTRO, "## Examples\n"]
    for title, config in EXAMPLES.items():
        blocks.append(f"{title}:\n\n```json\n{json.dumps(config, indent=2)}\n```\n")
    blocks.append("## Settings\n")
    blocks += [_table(title, node) for title, node in _sections(json_schema(), "")]
    return "\n".join(blocks)


def _object_in(node: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The section that a setting holds, itself or as list items; None for a plain setting."""
    for branch in [node, *node.get("anyOf", []), node.get("items", {})]:
        if "properties" in branch:
            section: Mapping[str, Any] = branch
            return section
    return None


def _sections(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, node
    for name, child in node["properties"].items():
        section = _object_in(child)
        if section is not None:
            suffix = "[]" if "items" in child else ""
            yield from _sections(section, f"{path}.{name}{suffix}".removeprefix("."))


def _table(path: str, section: Mapping[str, Any]) -> str:
    title = f"### `{path}`" if path else "### Top of the section"
    lines = [title, "", "| setting | allowed | default | meaning |", "| --- | --- | --- | --- |"]
    for name, node in section["properties"].items():
        lines.append(f"| `{name}` | {_allowed(node)} | {_default(name, node, section)} | {node['description']} |")
    return "\n".join(lines) + "\n"


def _allowed(node: Mapping[str, Any]) -> str:
    if "items" in node and _object_in(node) is not None:
        return "a list of sections, see below"
    allowed = describe_allowed(node) if _object_in(node) is None else "a section, see below"
    nullable = any(branch.get("type") == "null" for branch in node.get("anyOf", []))
    return f"{allowed}, or null" if nullable else allowed


def _default(name: str, node: Mapping[str, Any], section: Mapping[str, Any]) -> str:
    if name in section.get("required", []):
        return "required"
    if "default" not in node:
        return "its defaults"
    return "" if node["default"] is None else f"`{json.dumps(node['default'])}`"


def main(arguments: list[str]) -> int:
    """Write the reference to the file named by the only argument.

    Returns:
        Exit status: 0, or 2 for wrong arguments.
    """
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m nncf_slb.config.reference docs/config.md\n")
        return 2
    Path(arguments[0]).write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
