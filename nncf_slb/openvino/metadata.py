"""What an exported IR says of itself: runtime information of the model under ``nncf_slb``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import openvino as ov

from nncf_slb.openvino.lowering import LoweredLayer
from nncf_slb.targets import LoweringSettings
from nncf_slb.version import __version__

_KEY = "nncf_slb"


@dataclasses.dataclass(frozen=True)
class ExportInfo:
    """What was written with a network.

    Attributes:
        version: Version of this package that exported.
        target_device: Device that the IR is for.
        layers: Searched layers, in the order in which the network was converted.
    """

    version: str
    target_device: str
    layers: tuple[LoweredLayer, ...]


def write_metadata(model: ov.Model, settings: LoweringSettings, layers: list[LoweredLayer]) -> None:
    """Put settings and layers into a model."""
    model.set_rt_info(__version__, [_KEY, "version"])
    model.set_rt_info(settings.target_device, [_KEY, "target_device"])
    model.set_rt_info(json.dumps([dataclasses.asdict(layer) for layer in layers]), [_KEY, "layers"])


def read_metadata(model: ov.Model) -> ExportInfo | None:
    """What `write_metadata` wrote; None if the model is not one of this package's."""
    if not model.has_rt_info([_KEY, "layers"]):
        return None
    values = {name: str(model.get_rt_info([_KEY, name]).value) for name in ("version", "target_device", "layers")}
    layers = tuple(_layer(entry) for entry in json.loads(values["layers"]))
    return ExportInfo(values["version"], values["target_device"], layers)


def _layer(entry: dict[str, Any]) -> LoweredLayer:
    return LoweredLayer(**{**entry, "shape": tuple(entry["shape"])})
