"""Settings of a run: the JSON config together with the command line, all checked before anything long starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nncf_slb.config import ConfigError, validate_nncf_config
from samples.training.recipes import Recipes

OPTIMIZERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
SCHEDULES = ("constant", "cosine", "step", "multistep")


class SettingsError(ValueError):
    """Settings with problems; the message has one line for each."""


@dataclass(frozen=True)
class Task:
    """What a sample trains.

    Attributes:
        name: Name of the sample, as in ``python -m samples.NAME.main``.
        models: Networks by the name that a config's ``model`` takes.
        datasets: Data sets by the name that a config's ``dataset`` takes.
        recipes: Configs by name.
        arguments: Own arguments of the command, as argparse wants them; values take their places in the config.
        problems: Further problems of a config, one line each.
    """

    name: str
    models: Mapping[str, Callable[..., nn.Module]]
    datasets: Mapping[str, Any]
    recipes: Recipes
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: Callable[[dict[str, Any]], list[str]] = lambda config: []


@dataclass
class Settings:
    """One run.

    Attributes:
        config: The JSON config, with the command line's values in their places.
        log_dir: Folder of logs, checkpoints and exports.
        data: Folder of the data set, if it needs one.
        weights: Checkpoint of a float network to begin from.
        resume: Checkpoint of a run to continue.
        device: ``cpu`` or ``cuda``.
        workers: Processes that load images.
    """

    config: dict[str, Any]
    log_dir: Path
    data: Path | None = None
    weights: Path | None = None
    resume: Path | None = None
    device: str = "cpu"
    workers: int = 0

    @property
    def compressed(self) -> bool:
        """True when the config asks for compression."""
        return bool(self.config.get("compression"))


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
        SettingsError: If the file is missing or not JSON.
    """
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise SettingsError(
            f"config: '{path}' does not exist; use another one, or --recipe (see --list-recipes)"
        ) from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"config: '{path}' is not JSON ({error})") from None
    if not isinstance(config, dict):
        raise SettingsError(f"config: '{path}' holds {type(config).__name__}; it must hold one JSON object")
    return config


def check(settings: Settings, task: Task) -> None:
    """Look for every problem of a task's settings at once.

    Raises:
        SettingsError: With one line for each.
    """
    config = settings.config
    problems = [
        *_choice("model", config.get("model"), task.models),
        *_model_params(config, task),
        *_choice("dataset", config.get("dataset"), task.datasets),
        *count("epochs", config.get("epochs")),
        *count("batch_size", config.get("batch_size")),
        *_optimizer("optimizer", config.get("optimizer")),
        *task.problems(config),
    ]
    if "logits_optimizer" in config:
        problems += _optimizer("logits_optimizer", config["logits_optimizer"])
    for name in ("weights", "resume"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            problems.append(f"{name}: received '{path}'; there is no such file")
    if settings.device == "cuda" and not torch.cuda.is_available():
        problems.append("device: received 'cuda'; torch sees no GPU here, use 'cpu'")
    try:
        validate_nncf_config(config)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise SettingsError("settings with problems:\n" + "\n".join(f"  {p}" for p in problems))


def _choice(name: str, received: Any, allowed: Mapping[str, Any]) -> list[str]:
    return [] if received in allowed else [f"{name}: received {received!r}; allowed: {', '.join(allowed)}"]


def _model_params(config: dict[str, Any], task: Task) -> list[str]:
    if config.get("model") not in task.models:
        return []
    try:
        with torch.device("meta"):  # no memory for weights: only the network's own checks of its arguments
            task.models[config["model"]](**config.get("model_params", {}))
    except (TypeError, ValueError) as error:
        return [f"model_params: {error}"]
    return []


def count(name: str, received: Any) -> list[str]:
    """The problem of a number that must be an integer above 0, if there is one."""
    valid = isinstance(received, int) and not isinstance(received, bool) and received > 0
    return [] if valid else [f"{name}: received {received!r}; allowed: an integer above 0"]


def _optimizer(name: str, received: Any) -> list[str]:
    if not isinstance(received, dict):
        return [
            f"{name}: received {received!r}; allowed: an object with type, base_lr, schedule_type, optimizer_params"
        ]
    problems = _choice(f"{name}.type", received.get("type"), OPTIMIZERS)
    problems += _choice(f"{name}.schedule_type", received.get("schedule_type", "constant"), dict.fromkeys(SCHEDULES))
    rate = received.get("base_lr")
    if not isinstance(rate, (int, float)) or isinstance(rate, bool) or rate <= 0:
        problems.append(f"{name}.base_lr: received {rate!r}; allowed: a number above 0")
    known = {"type", "base_lr", "schedule_type", "optimizer_params", "gamma", "step", "steps"}
    problems += [f"{name}.{key}: unknown key; allowed: {', '.join(sorted(known))}" for key in set(received) - known]
    return problems
