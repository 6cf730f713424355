"""Settings of a run: the JSON config together with the command line, all checked before anything long starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nncf_slb.config.errors import structure_problems
from nncf_slb.config.fields import whole
from nncf_slb.config.outside import input_problems, section_problems
from nncf_slb.config.reading import (
    UnreadableConfigError,
    add_problems_of_text,
    read_config_file,
)
from nncf_slb.hosts.config_check import algorithm_problems
from nncf_slb.hosts.create import default_host
from samples.training.config import RunConfig, network_problems, optimizer_problems
from samples.training.recipes import Recipes
from samples.training.saving import SaveEvery

# Keys whose problems do not keep the network from being made.
_APART = {"optimizer", "logits_optimizer", "compression", "seed", "epochs", "batch_size", "log_dir", "target_device"}


class SettingsError(ValueError):
    """Settings with problems; the message has one line for each."""

    @classmethod
    def of(cls, problems: list[str]) -> SettingsError:
        """Error that lists problems."""
        return cls("settings with problems:\n" + "\n".join(f"  {problem}" for problem in problems))


@dataclass(frozen=True)
class Task:
    """What a sample trains.

    Attributes:
        name: Name of the sample, as in ``python -m samples.NAME.main``.
        config: Keys of its configs.
        models: Networks by the name that a config's ``model`` takes.
        datasets: Data sets by the name that a config's ``dataset`` takes.
        recipes: Configs by name.
        network_arguments: Arguments of the network beside a config's ``model_params``.
        image_shape: Channels, height and width of a config's images.
        problems: What does not fit together in a config of valid keys, one line each.
        arguments: Own arguments of the command, as argparse wants them; values take their places in the config.
    """

    name: str
    config: type[RunConfig]
    models: Mapping[str, Callable[..., nn.Module]]
    datasets: Mapping[str, Any]
    recipes: Recipes
    network_arguments: Callable[[dict[str, Any]], dict[str, Any]]
    image_shape: Callable[[dict[str, Any]], tuple[int, int, int]]
    problems: Callable[[dict[str, Any]], list[str]]
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def config_problems(self, config: dict[str, Any]) -> list[str]:
        """A line for each problem of a config, those of NNCF's algorithms among them."""
        if problems := structure_problems(config):
            return problems
        problems = section_problems(self.config, config)
        if not any(problem.startswith("input_info: ") for problem in problems):
            problems += input_problems(config)
        wrong = {re.split(r"[:.\[]", problem)[0] for problem in problems}
        problems += optimizer_problems(config)
        config = {key: whole(value) for key, value in config.items()}
        fits = not wrong & (self.config.model_fields.keys() - _APART)
        if fits:
            problems += self.problems(config)
        if not wrong & {"model", "model_params"}:
            right = {key: value for key, value in config.items() if key not in wrong}
            complete = {**next(iter(self.recipes.values())), **right}
            make, params = self.models[config["model"]], config.get("model_params", {})
            shape = self.image_shape(config) if fits else None
            problems += network_problems(make, params, self.network_arguments(complete), shape)
        return [*problems, *algorithm_problems(config)]


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
        host: How a search gets into the network, as in `nncf_slb.create_compressed_model`.
        save_every: Steps or minutes between checkpoints within an epoch, as in `samples.training.saving`, or None.
    """

    config: dict[str, Any]
    log_dir: Path
    data: Path | None = None
    weights: Path | None = None
    resume: Path | None = None
    device: str = "cpu"
    workers: int = 0
    host: str = field(default_factory=default_host)
    save_every: str | None = None

    @property
    def compressed(self) -> bool:
        """True when the config asks for compression."""
        return bool(self.config.get("compression"))


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
        SettingsError: If the file is missing or not JSON, or its text has problems.
    """
    config, problems = read_with_problems(path)
    if problems:
        raise SettingsError.of(problems)
    return config


def read_with_problems(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The JSON object of a file, and a line for each problem of its text.

    Raises:
        SettingsError: If the file is missing or not JSON.
    """
    try:
        return read_config_file(path)
    except UnreadableConfigError as error:
        raise SettingsError(f"config: {error}; use another file, or --recipe (see --list-recipes)") from None


def check(settings: Settings, task: Task, of_text: list[str] | None = None) -> None:
    """Look for every problem of a task's settings at once, and give numbers in the config their types.

    Args:
        settings: The settings.
        task: Their task.
        of_text: Problems of the config's text.

    Raises:
        SettingsError: With one line for each.
    """
    problems = add_problems_of_text(task.config_problems(settings.config), of_text or [])
    for name in ("weights", "resume"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            problems.append(f"{name}: received '{path}'; there is no such file")
    log_dir = settings.log_dir
    if not next(path for path in (log_dir, *log_dir.absolute().parents) if path.exists()).is_dir():
        problems.append(f"log-dir: received '{log_dir}'; allowed: a folder, and this is a file, or inside one")
    try:
        SaveEvery(settings.save_every)
    except ValueError as error:
        problems.append(f"save-every: {error}")
    if settings.workers < 0:
        problems.append(f"workers: received {settings.workers}; allowed: an integer from 0 on")
    if settings.device == "cuda" and not torch.cuda.is_available():
        problems.append("device: received 'cuda'; torch sees no GPU here, use 'cpu'")
    if problems:
        raise SettingsError.of(problems)
    typed = task.config.model_validate(settings.config)
    values = typed.model_dump(mode="json", exclude_unset=True, warnings=False)
    settings.config = {key: values[key] for key in settings.config}
