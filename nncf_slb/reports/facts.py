"""What a run says of itself before it begins: file ``run.json``."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from importlib import metadata
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from nncf_slb.openvino.ir import device_name
from nncf_slb.search.statistics import LayerStatistics
from nncf_slb.version import __version__

_PACKAGES = ("torch", "nncf", "openvino", "numpy")
Way = Literal["training", "post-training"]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class LayerPlan(BaseModel):
    """A searched layer.

    Attributes:
        name: Path of the module.
        weights: Number of weights.
        bits: Bits of one weight.
        bytes: Bytes of the codes, packed.
        values: Values that a weight may take, ascending, in units of the layer's scale.
    """

    name: str
    weights: int
    bits: int
    bytes: int
    values: list[_Number]


class Score(BaseModel):
    """What a score is; the higher, the better.

    Attributes:
        name: Its name in a sentence, such as ``top-1 accuracy``.
        unit: ``%``, ``dB``, or nothing.
    """

    name: str = "score"
    unit: str = ""


class RunFacts(BaseModel):
    """A run.

    Attributes:
        form: Of the files of a run.
        way: Training with labels, or a search without.
        network: Name of the network.
        data: Name of the data; None where it has none.
        score: What the score of a network is.
        length: Epochs of a training, or steps of a search without labels.
        started: ISO date and time.
        commands: Command lines, that of each continuation behind the first.
        versions: Versions by the name of the package.
        machine: Processor, cores and system, and the GPU where one is used.
        config: The config.
        layers: Searched layers; empty for a float network.
        eight_bit_layers: Paths of first and last layers with 8-bit weights.
        full_precision_layers: Paths of layers that keep their weights, with the reason where one is known.
        left_out_share: Share of all weights, 0 to 1, that would have been searched if they could be.
        sensitivities: For each layer, its sensitivity by bits, where bits were chosen by measurement.
        budget_bytes: Bytes that the exported file may take; None without such a budget.
    """

    model_config = ConfigDict(extra="ignore")

    form: int = 1
    way: Way = "training"
    network: str = "network"
    data: str | None = None
    score: Score = Score()
    length: int = 0
    started: str = Field(default_factory=lambda: datetime.now().astimezone().isoformat(timespec="seconds"))
    commands: list[str] = Field(default_factory=lambda: [command()])
    versions: dict[str, str] = Field(default_factory=lambda: versions())
    machine: dict[str, str] = {}
    config: dict[str, Any] = {}
    layers: list[LayerPlan] = []
    eight_bit_layers: list[str] = []
    full_precision_layers: dict[str, str] = {}
    left_out_share: float = 0.0
    sensitivities: dict[str, dict[int, float]] = {}
    budget_bytes: int | None = None


def layer_plans(layers: Iterable[LayerStatistics], path: Callable[[str], str]) -> list[LayerPlan]:
    """Searched layers.

    Args:
        layers: Their statistics.
        path: Gives the path of a module from the name of a layer.
    """
    return [LayerPlan(name=path(x.name), weights=x.weights, bits=x.bits, bytes=x.bytes, values=list(x.values))
            for x in layers]  # fmt: skip


def command() -> str:
    """The command line of this process."""
    return shlex.join(["python", *sys.orig_argv[1:]] if sys.orig_argv else sys.argv)


def versions() -> dict[str, str]:
    """Versions of this package, Python, and what the search and the export run on."""
    found = {"nncf_slb": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine(device: str = "cpu") -> dict[str, str]:
    """The machine that figures come from.

    Args:
        device: Torch device that trains.
    """
    found = {"processor": device_name("CPU"), "cores": str(os.cpu_count() or "?"), "system": platform.platform()}
    if device.startswith("cuda"):
        found["GPU"] = torch.cuda.get_device_name(torch.device(device))
    return found
