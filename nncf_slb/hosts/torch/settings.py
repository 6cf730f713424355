"""Settings of a search without labels, from arguments or from a config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nncf_slb.config.budget import AUTO
from nncf_slb.config.errors import ConfigError
from nncf_slb.config.reading import UnreadableConfigError, add_problems_of_text, read_config_file
from nncf_slb.config.section import SLBConfig, find_slb_sections, parse_slb_config
from nncf_slb.errors import SettingError

_EDGES = 8


def post_training_config(
    config: Mapping[str, Any] | str | os.PathLike[str] | None, bits: Any, activations: Any, edges: Any, budget: Any,
    dry_export: Any = None,
) -> SLBConfig:  # fmt: skip
    """The slb section that arguments and config come to.

    Args:
        config: An slb section, a whole NNCF config that holds one, or the path of either as JSON; None for the
            defaults.
        bits: ``weights.bits``; None for what the config says.
        activations: ``activations.bits``; None likewise.
        edges: ``weights.edges``; None for what the config says, and 8 where it says nothing.
        budget: ``weights.budget``; None likewise.
        dry_export: ``openvino.dry_export``; None likewise.

    Raises:
        ConfigError: With every problem.
        SettingError: If the config cannot be read, holds no slb section, or says what an argument says as well.
    """
    section, path, of_text = _section(config)
    given = {("weights", "bits"): bits, ("weights", "edges"): edges, ("weights", "budget"): budget,
             ("activations", "bits"): activations, ("openvino", "dry_export"): dry_export}  # fmt: skip
    for (part, key), value in given.items():
        if value is None:
            continue
        inner = section.setdefault(part, {})
        if isinstance(inner, dict):
            if key in inner and inner[key] != value:
                raise SettingError(
                    f"{part}.{key}: received {value!r} as an argument and {inner[key]!r} in the config; allowed is one "
                    "of them. Leave one out"
                )
            inner[key] = value
    weights = section.setdefault("weights", {})
    if isinstance(weights, dict):
        weights.setdefault("edges", _EDGES)
    section.setdefault("algorithm", "slb")
    problems: list[str] = []
    try:
        parsed = parse_slb_config(section, path)
    except ConfigError as error:
        of_edges = f"{path}.weights.edges: "
        problems = [
            problem.replace('the default, "search"', f"the default, {_EDGES}")
            if problem.startswith(of_edges)
            else problem
            for problem in error.problems
        ]
    problems = add_problems_of_text(problems, of_text)
    if problems:
        raise ConfigError(problems)
    if parsed.params.descent == "gradient":
        raise ConfigError([
            f'{path}.params.descent: received "gradient"; allowed: "mirror" in a search without labels. Remove it'
        ])  # fmt: skip
    return parsed


def refuse_beside(config: Mapping[str, Any] | str | os.PathLike[str] | None, received: str) -> None:
    """Refuse a config that states bits or a budget beside an argument that chooses them.

    Args:
        config: As for `post_training_config`.
        received: The argument, for the message.

    Raises:
        SettingError: If it does, or cannot be read.
    """
    weights = _section(config)[0].get("weights")
    for name in ("bits", "budget"):
        stated = weights.get(name) if isinstance(weights, Mapping) else None
        if stated not in (None, AUTO):
            raise SettingError(f"{received} beside weights.{name} {stated!r} in the config; allowed is one of them")


def _section(config: Mapping[str, Any] | str | os.PathLike[str] | None) -> tuple[dict[str, Any], str, list[str]]:
    """The section, its path in the file, and what is wrong with the file's text."""
    of_text: list[str] = []
    if isinstance(config, str | os.PathLike):
        try:
            config, of_text = read_config_file(Path(config))
        except UnreadableConfigError as error:
            raise SettingError(f"config: {error}") from None
    if config is None:
        return {}, "slb", of_text
    if not isinstance(config, Mapping):
        raise SettingError(f"config: received {type(config).__name__}; allowed are a dictionary and the path of JSON")
    if "compression" not in config:
        return _copied(config), "slb", of_text
    sections = find_slb_sections(config)
    if len(sections) != 1:
        raise SettingError(f'config: received {len(sections)} "slb" sections; allowed is one')
    path, section = sections[0]
    return _copied(section), path, of_text


def _copied(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in section.items()}
