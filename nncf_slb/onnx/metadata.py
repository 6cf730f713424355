"""What an exported ONNX file says of itself: properties of the model whose names begin with ``nncf_slb.``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from nncf_slb.openvino.call_form import CallForm
from nncf_slb.openvino.lowering import LoweredLayer
from nncf_slb.version import __version__

_PREFIX = "nncf_slb."


@dataclass(frozen=True)
class OnnxInfo:
    """What was written with a network.

    Attributes:
        version: Version of this package that exported.
        layers: Searched layers, in the order of the graph.
        call_form: How the torch network takes the tensors that are the inputs of the file.
        batch: Samples of the example that it was exported with.
    """

    version: str
    layers: tuple[LoweredLayer, ...]
    call_form: CallForm
    batch: int


def write_metadata(model: onnx.ModelProto, layers: Sequence[LoweredLayer], call_form: CallForm, batch: int) -> None:
    """Put layers, form of the call and size of the example's batch into a model."""
    model.producer_name, model.producer_version = "nncf_slb", __version__
    values = {
        "version": __version__,
        "layers": json.dumps([dataclasses.asdict(layer) for layer in layers]),
        "call_form": json.dumps(call_form.to_json()),
        "batch": str(batch),
    }
    helper.set_model_props(model, {f"{_PREFIX}{name}": value for name, value in values.items()})


def read_metadata(model: onnx.ModelProto) -> OnnxInfo | None:
    """What `write_metadata` wrote; None if the model is not one of this package's, or its properties are damaged."""
    values = {each.key.removeprefix(_PREFIX): each.value for each in model.metadata_props}
    try:
        layers = tuple(LoweredLayer(**{**each, "shape": tuple(each["shape"])}) for each in json.loads(values["layers"]))
        form = CallForm.from_json(json.loads(values["call_form"]))
        return OnnxInfo(values["version"], layers, form, int(values["batch"]))
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
