"""``nncf-slb check``: every problem of configs, and what a search of a network will be and take."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nncf_slb.commands.command import GOOD, REFUSED, Command, Result
from nncf_slb.commands.user_code import called
from nncf_slb.errors import SettingError, SLBError, printable

if TYPE_CHECKING:
    from nncf_slb.hosts.forecast import Forecast

logger = logging.getLogger("nncf_slb")

_BATCH, _BATCHES = 16, 64


@dataclass(frozen=True)
class CheckedConfig:
    """One config.

    Attributes:
        path: The file.
        problems: A line for each: setting, what was received, what is allowed, what to do.
        search: What the search of the network will be and take; None without ``--model``, or with problems.
    """

    path: str
    problems: tuple[str, ...] = ()
    search: Forecast | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        search = None if self.search is None else self.search.to_dict()
        return {"path": self.path, "good": not self.problems, "problems": self.problems, "search": search}

    def to_str(self) -> str:
        """Lines for the terminal."""
        if self.problems:
            count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
            return "\n- ".join([f"{printable(self.path)}: {count} in the config:", *self.problems])
        return f"{printable(self.path)}: good" + ("" if self.search is None else f"\n{self.search.to_str()}")


@dataclass(frozen=True)
class Check:
    """All configs."""

    configs: tuple[CheckedConfig, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"configs": [config.to_dict() for config in self.configs]}

    def to_str(self) -> str:
        """Lines for the terminal."""
        return "\n".join(config.to_str() for config in self.configs)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, nargs="+", help="JSON files")
    parser.add_argument(
        "--model", help="MODULE:FUNCTION of your code, called without arguments: returns the float network, or the "
        "network and training batches. The search is built, run for a few steps, exported and thrown away",
    )  # fmt: skip


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    checked = Check(tuple(_checked(path, arguments.model) for path in arguments.config))
    return checked, REFUSED if any(config.problems for config in checked.configs) else GOOD


def _checked(path: Path, model: str | None) -> CheckedConfig:
    from nncf_slb.config.reading import (
        MissingConfigError,
        UnreadableConfigError,
        add_problems_of_text,
        read_config_file,
    )
    from nncf_slb.config.section import find_slb_sections
    from nncf_slb.hosts.config_check import config_problems

    try:
        config, of_text = read_config_file(path)
    except MissingConfigError as error:
        raise SettingError(f"config: {error}") from None
    except UnreadableConfigError as error:
        return CheckedConfig(str(path), (str(error),))
    problems = add_problems_of_text((_check_of_samples(config) or config_problems)(config), of_text)
    if not problems and not find_slb_sections(config):
        logger.warning("slb: %s has no slb section, so it searches nothing; nncf-slb init writes one", printable(path))
    if problems or model is None:
        return CheckedConfig(str(path), tuple(problems))
    network, batches = network_and_batches(model)
    return _built(str(path), network, config, batches)


def network_and_batches(text: str) -> tuple[Any, Any]:
    """The float network, and batches or None, that a function of the user's returns, also one made for ``quantize``.

    Raises:
        SettingError: If it cannot be called.
    """
    made = called(text)
    if not (isinstance(made, tuple) and 2 <= len(made) <= 3):
        return made, None
    network, batches = made[:2]
    if hasattr(batches, "split") and hasattr(batches, "dim"):  # a tensor of samples, as quantize takes it
        batches = batches.split(_BATCH)
    elif iter(batches) is batches:  # which ends after one pass
        batches = list(islice(batches, _BATCHES))
    return network, batches


def _built(path: str, network: Any, config: dict[str, Any], batches: Any) -> CheckedConfig:
    from nncf_slb.hosts.forecast import forecast
    from nncf_slb.hosts.installed import MissingHostError
    from nncf_slb.hosts.quiet import quieten

    quieten()
    try:
        return CheckedConfig(path, (), forecast(network, config, batches))
    except MissingHostError:
        raise
    except SLBError as error:
        return CheckedConfig(path, tuple(getattr(error, "problems", ())) or (str(error),))


def _check_of_samples(config: dict[str, Any]) -> Any:
    """The check of the sample that a config is for; None if it is for none, or the samples are not here."""
    if not {"model", "dataset"} & config.keys():
        return None
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module("samples.tasks").task_of(config).config_problems
    except ImportError:
        return None
    finally:
        sys.path.pop(0)


COMMAND = Command(
    "check", "list every problem of configs; with a network, its layers, memory, time and bytes",
    "check config.json --model my_project:load_float", _add_arguments, _run,
)  # fmt: skip
