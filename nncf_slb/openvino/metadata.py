"""What an exported IR says of itself: runtime information of the model under ``nncf_slb``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import TypeVar

import openvino as ov
from pydantic import TypeAdapter, ValidationError

from nncf_slb.openvino.call_form import CallForm
from nncf_slb.openvino.lowering import LoweredLayer
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.version import __version__

_Entry = TypeVar("_Entry")
_KEY = "nncf_slb"
# Where a file says that inputs are not rounded as it runs: the CPU plugin does so unless told not to.
DYNAMIC_QUANTIZATION_OFF = ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"]
_FIELDS = ("version", "target_device", "layers", "call_form", "batch")
_LAYERS = TypeAdapter(tuple[LoweredLayer, ...])
_LARGEST_BATCH = 2**31 - 1


class MetadataError(ValueError):
    """What `write_metadata` wrote is incomplete or something else; the message names the entry."""


@dataclasses.dataclass(frozen=True)
class ExportInfo:
    """What was written with a network.

    Attributes:
        version: Version of this package that exported.
        target_device: Device that the IR is for.
        layers: Searched layers, in the order in which the network was converted.
        call_form: How the torch network takes the tensors that are the inputs of the IR.
        batch: Samples of the example that it was exported with.
    """

    version: str
    target_device: str
    layers: tuple[LoweredLayer, ...]
    call_form: CallForm
    batch: int


def write_metadata(
    model: ov.Model, settings: LoweringSettings, layers: list[LoweredLayer], call_form: CallForm, batch: int
) -> None:
    """Put settings, layers, form of the call and size of the example's batch into a model."""
    model.set_rt_info(__version__, [_KEY, "version"])
    model.set_rt_info(settings.target_device, [_KEY, "target_device"])
    model.set_rt_info(json.dumps([dataclasses.asdict(layer) for layer in layers]), [_KEY, "layers"])
    model.set_rt_info(json.dumps(call_form.to_json()), [_KEY, "call_form"])
    model.set_rt_info(str(batch), [_KEY, "batch"])


def read_metadata(model: ov.Model) -> ExportInfo | None:
    """What `write_metadata` wrote; None if the model is not one of this package's.

    Raises:
        MetadataError: If an entry is missing or damaged.
    """
    found = [name for name in _FIELDS if model.has_rt_info([_KEY, name])]
    if not found:
        return None
    missing = [name for name in _FIELDS if name not in found]
    if missing:
        raise MetadataError(f"{', '.join(missing)} missing")
    values = {name: str(model.get_rt_info([_KEY, name]).value) for name in _FIELDS}
    layers = _read("layers", values, lambda text: _LAYERS.validate_json(text, strict=True))
    form = _read("call_form", values, lambda text: CallForm.from_json(json.loads(text)))
    return ExportInfo(values["version"], values["target_device"], layers, form, _read("batch", values, _batch))


def _read(name: str, values: dict[str, str], read: Callable[[str], _Entry]) -> _Entry:
    try:
        return read(values[name])
    except (ValidationError, ValueError, RecursionError) as error:
        raise MetadataError(f"{name} cannot be read") from error


def _batch(text: str) -> int:
    batch = int(text)
    if not 1 <= batch <= _LARGEST_BATCH:
        raise ValueError
    return batch
