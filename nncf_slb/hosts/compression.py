"""An NNCF config as hosts without NNCF's builders read it: all of it checked, every algorithm in a form of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncf_slb.config.distillation import DistillationConfig
from nncf_slb.config.errors import shown
from nncf_slb.config.outside import section_problems
from nncf_slb.config.reading import UnreadableConfigError, read_config_file
from nncf_slb.config.section import SLBConfig, find_slb_sections, parse_slb_config, scope_list, total_epochs
from nncf_slb.errors import SettingError
from nncf_slb.hosts.config_check import WholeConfigError, config_problems

SLB, DISTILLATION, QUANTIZATION = "slb", "knowledge_distillation", "quantization"


@dataclass(frozen=True)
class Compression:
    """What a config asks for.

    Attributes:
        slb: The slb section; its scopes are those of the whole config as well.
        path: Where it stands, for messages.
        epochs: Training epochs that fractions of the schedule refer to.
        target_device: As in the config; None where it says nothing.
        lr_multiplier: Factor of the gradients of the searched weights' parameters; None for 1.
        distillation: Section of the distillation; None without one.
        quantization: Section of NNCF's quantization; None without one.
        input_info: As in the config; empty without one.
    """

    slb: SLBConfig
    path: str
    epochs: int
    target_device: str | None
    lr_multiplier: float | None
    distillation: DistillationConfig | None
    quantization: Mapping[str, Any] | None
    input_info: list[Mapping[str, Any]]


def read_whole_config(config: Mapping[str, Any] | str | os.PathLike[str]) -> dict[str, Any]:
    """A config from a dictionary, an `NNCFConfig` or the path of a JSON file.

    Raises:
        SettingError: If it is neither, or the file cannot be read.
        WholeConfigError: If the file's text has problems.
    """
    if isinstance(config, Mapping):
        return dict(config)
    if not isinstance(config, str | os.PathLike):
        raise SettingError(
            f"config: received {type(config).__name__}; allowed are a dictionary, an NNCFConfig and the path of JSON"
        )
    try:
        whole, problems = read_config_file(Path(config))
    except UnreadableConfigError as error:
        raise SettingError(f"config: {error}") from None
    if problems:
        raise WholeConfigError(problems)
    return whole


def parse_compression(config: Mapping[str, Any], host: str, allowed: tuple[str, ...]) -> Compression:
    """Check a whole config.

    Args:
        config: From `read_whole_config`.
        host: Name of the host, for messages.
        allowed: Algorithms that the host knows.

    Raises:
        WholeConfigError: With every problem.
    """
    problems = config_problems(config)
    sections = _sections(config)
    known: dict[Any, Mapping[str, Any]] = {}
    for path, section in sections:
        name = section.get("algorithm")
        if name not in allowed:
            problems.append(
                f"{path}.algorithm: received {shown(name)}; allowed with the host {host}: {', '.join(allowed)}. "
                "Remove the section, or use another host"
            )
        elif name == DISTILLATION:
            problems += section_problems(DistillationConfig, dict(section), path)
        if isinstance(name, str):
            known.setdefault(name, section)
    if SLB not in known:
        problems.append(f'compression: received no "{SLB}" section; allowed: one. Add {{"algorithm": "{SLB}"}}')
    if problems:
        raise WholeConfigError(list(dict.fromkeys(problems)))
    path, section = find_slb_sections(config)[0]
    slb = parse_slb_config(section, path)
    scopes = {
        "ignored_scopes": (*scope_list(config.get("ignored_scopes")), *scope_list(slb.ignored_scopes)) or None,
        "target_scopes": slb.target_scopes or tuple(scope_list(config.get("target_scopes"))) or None,
    }
    inputs = config.get("input_info") or []
    distillation = known.get(DISTILLATION)
    return Compression(
        slb.model_copy(update=scopes),
        path,
        total_epochs(config),
        config.get("target_device"),
        slb.compression_lr_multiplier or config.get("compression_lr_multiplier"),
        None if distillation is None else DistillationConfig.model_validate(dict(distillation)),
        known.get(QUANTIZATION),
        [inputs] if isinstance(inputs, Mapping) else list(inputs),
    )


def _sections(config: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    compression = config.get("compression")
    if isinstance(compression, Mapping):
        return [("compression", compression)]
    listed = enumerate(compression) if isinstance(compression, list | tuple) else ()
    return [(f"compression[{index}]", section) for index, section in listed if isinstance(section, Mapping)]
