"""``nncf-slb init``: a config for a network, by questions or by flags."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nncf_slb.commands.check import network_and_batches
from nncf_slb.commands.command import GOOD, Command, Result
from nncf_slb.commands.device_options import shape_of
from nncf_slb.commands.questions import Question, answer, one_of
from nncf_slb.errors import SettingError, printable

if TYPE_CHECKING:
    from nncf_slb.hosts.forecast import Forecast

_EPOCHS = "30"
_LARGEST_EPOCHS = 10**6


@dataclass(frozen=True)
class NewConfig:
    """What was written.

    Attributes:
        output: The file.
        config: What it holds.
        search: What the search of the network will be and take; None without ``--model``.
        model: The function that gives the network; None without one.
    """

    output: str
    config: dict[str, Any]
    search: Forecast | None
    model: str | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        search = None if self.search is None else self.search.to_dict()
        return {"output": self.output, "config": self.config, "search": search}

    def to_str(self) -> str:
        """Lines for the terminal."""
        path = printable(self.output)
        lines = [f"{path} written"]
        if self.search is not None:
            lines.append(self.search.to_str())
        else:
            lines.append(f"next: nncf-slb check {path} --model MODULE:FUNCTION")
        return "\n".join([*lines, f'then: nncf_slb.create_compressed_model(model, "{path}", train_loader)'])


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("config.json"), help="file to write (default: config.json)")
    add("--model", help="MODULE:FUNCTION of your code, called without arguments: returns the float network, or the "
        "network and training batches, which also give the sample size. The search is tried with it, and layers that "
        "cannot be searched are left out")  # fmt: skip
    for flag in ("bits", "mean-bits", "activations", "edges", "epochs", "sample-size"):
        question = _QUESTIONS[flag.replace("-", "_")]
        default = f" (default: {question.default})" if question.default else ""
        add(f"--{flag}", help=f"{question.text[0].lower()}{question.text[1:]}: {question.allowed}{default}")
    add("--no-input", action="store_true", help="ask nothing, even in a terminal: flags and defaults decide")
    add("--force", action="store_true", help="replace the file if there is one")


def _epochs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _LARGEST_EPOCHS):
        raise ValueError(text)
    return int(text)


def _mean_bits(text: str) -> float:
    if not 1 <= float(text) <= 4:
        raise ValueError(text)
    return float(text)


_QUESTIONS = {
    "bits": Question("--bits", "Bits of a weight", one_of("1", "2", "3", "4", "auto"), "1, 2, 3, 4 or auto", "2"),
    "mean_bits": Question("--mean-bits", "Mean of bits where they are auto", _mean_bits, "1 to 4", "2"),
    "activations": Question(
        "--activations", "Bits of the layers' inputs", one_of("1", "2", "4", "8", "32"),
        "1, 2, 4, 8, or 32 to leave them", "8",
    ),
    "edges": Question(
        "--edges", "First and last layers", one_of("8", "float", "search"), "8 bits, float or search", "8"
    ),
    "epochs": Question("--epochs", "Epochs of your training", _epochs, f"1 to {_LARGEST_EPOCHS}", _EPOCHS),
    "sample_size": Question("--sample-size", "Shape of the inputs", shape_of, "such as 1,3,224,224"),
}  # fmt: skip


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    path: Path = arguments.output
    _refuse_existing(path, arguments.force)
    network, batches = (None, None) if arguments.model is None else network_and_batches(arguments.model)
    config = _config(arguments, batches)
    search = None
    if network is not None:
        config, search = _tried(network, config, batches)
    from nncf_slb.files import new_file

    _refuse_existing(path, arguments.force)
    with new_file(path) as partial:
        partial.write_text(f"{json.dumps(config, indent=2)}\n", encoding="utf-8")
    return NewConfig(str(path), config, search, arguments.model), GOOD


def _refuse_existing(path: Path, force: bool) -> None:
    if path.is_dir() or (path.exists() and not force):
        advice = "Name another file" if path.is_dir() else "Name another one, or add --force to replace it"
        raise SettingError(f"--output: received {printable(path)}, which exists; allowed: a new file. {advice}")


def _config(arguments: argparse.Namespace, batches: Any) -> dict[str, Any]:
    """The config that flags and answers come to."""
    from nncf_slb.config.section import FULL_PRECISION

    asks = sys.stdin is not None and sys.stdin.isatty() and not arguments.no_input
    inputs = None if batches is None or arguments.sample_size is not None else _inputs_of(batches)
    if arguments.mean_bits is not None and arguments.bits is None:
        arguments.bits = "auto"

    def given(name: str) -> Any:
        return answer(_QUESTIONS[name], getattr(arguments, name), asks)

    weights: dict[str, Any] = {"bits": given("bits")}
    if weights["bits"] == "auto":
        weights["budget"] = {"mean_bits": given("mean_bits")}
    elif arguments.mean_bits is not None:
        raise SettingError(f"--mean-bits: received with --bits {weights['bits']}; allowed with auto. Leave one out")
    activations, weights["edges"], epochs = given("activations"), given("edges"), given("epochs")
    section: dict[str, Any] = {"algorithm": "slb", "weights": weights}
    if activations != FULL_PRECISION:
        section["activations"] = {"bits": activations}
    return {"input_info": inputs or {"sample_size": given("sample_size")}, "epochs": epochs, "compression": section}


def _inputs_of(batches: Any) -> dict[str, Any] | list[dict[str, Any]]:
    """``input_info`` from the first batch, for one sample."""
    from torch import Tensor
    from torch.utils._pytree import tree_leaves

    from nncf_slb.hosts.inputs import first_batch
    from nncf_slb.search.batches import Batches, first_of_batch

    args, kwargs = first_of_batch(first_batch(Batches(batches, first_of_batch)))
    infos = [
        {
            "sample_size": [1, *x.shape[1:]],
            **({} if x.is_floating_point() else {"type": "long"}),
            **({"keyword": keyword} if keyword else {}),
        }
        for keyword, x in [*((None, x) for x in tree_leaves(args)), *kwargs.items()]
        if isinstance(x, Tensor)
    ]
    return infos[0] if len(infos) == 1 else infos


def _tried(network: Any, config: dict[str, Any], batches: Any) -> tuple[dict[str, Any], Forecast]:
    """The config without layers that cannot be searched, and what its search will be and take."""
    from nncf_slb.hosts.forecast import forecast
    from nncf_slb.hosts.quiet import quieten

    quieten()
    try:
        return config, forecast(network, config, batches)
    except SettingError:
        raise
    except ValueError as error:
        scopes: Sequence[str] = getattr(error, "ignored_scopes", ())
        if not scopes:
            raise
    section = {**config["compression"], "ignored_scopes": list(scopes)}
    config = {**config, "compression": section}
    return config, forecast(network, config, batches)


COMMAND = Command(
    "init", "write a config for a network: asks in a terminal, or takes flags",
    "init --model my_project:load_float --bits 2 --sample-size 1,3,224,224", _add_arguments, _run,
)  # fmt: skip
