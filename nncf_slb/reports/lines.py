"""Lines of the files of a run, as they are read: unknown names are left out, and wrong numbers are refused."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class LayerMoment(_Read):
    """A layer after an epoch or some steps; fields as in `nncf_slb.LayerStatistics`."""

    confidence: float | None = None
    lowest: float | None = None
    histogram: list[float] = []
    zero_channels: int = 0


class Moment(_Read):
    """A line of numbers.

    Attributes:
        count: Epoch or step, from 1 on.
        search: Name of the search that it belongs to, where there are several.
        loss: Mean loss; of a search without labels, distance of the outputs.
        layer_loss: Mean distance at the layers, of a search without labels.
        score: Score with the validation part.
        inverse_temperature: ``1 / tau``.
        confidence: Mean over all weights of the largest probability.
        changed: Share of the weights whose choice has changed since the line before.
        layers: The searched layers by path.
    """

    count: Annotated[int, Field(ge=0, le=10**9)]
    search: str | None = None
    loss: float | None = None
    layer_loss: float | None = None
    score: float | None = None
    inverse_temperature: float | None = None
    confidence: float | None = None
    changed: float | None = None
    layers: dict[str, LayerMoment] = {}

    @model_validator(mode="before")
    @classmethod
    def _names(cls, line: Any) -> Any:
        line = dict(line)
        line["count"] = line.get("epoch", line.get("step"))
        line["loss"] = line.get("loss", line.get("output_loss"))
        line["score"] = next((value for name, value in line.items() if name.startswith("val_")), None)
        return line


class Network(_Read):
    """A network that was measured.

    Attributes:
        name: ``float``, ``nearest`` (rounded without a search), ``searched``, or ``IR``.
        scores: Scores by the part of the data: ``test``, ``validation``, or ``own`` for a user's function.
        agreement: With the float network, in `unit`.
        unit: ``%`` or ``dB``.
        bytes: Bytes of the weights, or of the ``.bin`` file.
        milliseconds: Median latency of a batch of 1.
        file: Its ``.xml`` file, seen from the folder of the run.
    """

    name: str
    scores: dict[str, float | None] = {}
    agreement: float | None = None
    unit: str | None = None
    bytes: int | None = None
    milliseconds: float | None = None
    file: str | None = None


class OutputDifference(_Read):
    """One output of a comparison; fields as in `nncf_slb.openvino.verification.OutputDifference`."""

    name: str
    largest: float | None = None
    mean: float | None = None
    reference: float | None = None
    agreement: float | None = None


class FirstLayer(_Read):
    """First layer that differs; fields as in `nncf_slb.openvino.layer_comparison.LayerDifference`."""

    name: str
    largest: float | None = None
    reference: float | None = None


class Verified(_Read):
    """How a file compares with PyTorch; fields as in `nncf_slb.Verification`."""

    device: str = "CPU"
    samples: int = 0
    tolerance: float = 0.0
    outputs: list[OutputDifference] = []
    first_layer: FirstLayer | None = None
    by_rounding: bool = False
    joint_ranges: list[str] = []
    passed: bool = True
