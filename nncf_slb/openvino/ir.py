"""Reading of IR files, with errors that say which file is wrong and why, and names of what is in them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openvino as ov

from nncf_slb.errors import DeviceError, SettingError, SLBError
from nncf_slb.openvino.metadata import ExportInfo, read_metadata


class IrError(SLBError, RuntimeError):
    """An IR file that cannot be used, with the reason and the remedy."""


def read_ir(path: str | Path) -> ov.Model:
    """Read an OpenVINO IR file.

    Args:
        path: ``.xml`` file; its ``.bin`` lies beside it.

    Raises:
        IrError: If one of the files is missing, truncated or something else.
    """
    xml = Path(path)
    if xml.suffix != ".xml":
        raise IrError(f"{xml}: an IR file ends in .xml; give the .xml, its .bin is found beside it")
    if not xml.is_file():
        raise IrError(f"{xml}: there is no such file")
    try:
        needed = _bytes_needed(xml)
    except (ElementTree.ParseError, ValueError) as error:
        raise IrError(f"{xml}: it is not a complete OpenVINO IR file ({error}); export the model again") from error
    weights = xml.with_suffix(".bin")
    if needed and not weights.is_file():
        raise IrError(f"{weights}: there is no such file, but {xml.name} needs it; copy both files together")
    size = weights.stat().st_size if weights.is_file() else 0
    if size < needed:
        raise IrError(
            f"{weights}: it is truncated: {size:,} bytes where {xml.name} needs {needed:,}; copy or export it again"
        )
    try:
        return ov.Core().read_model(xml)
    except RuntimeError as error:
        raise IrError(f"{xml}: OpenVINO cannot read it ({last_line(error)})") from error


def read_own_ir(path: str | Path) -> tuple[ov.Model, ExportInfo]:
    """`read_ir` for files that this package exported.

    Raises:
        IrError: As `read_ir`, or if another tool wrote the file.
    """
    model = read_ir(path)
    info = read_metadata(model)
    if info is None:
        raise IrError(
            f"{path}: nncf_slb did not export this IR, so it does not say which layers were searched; give a file that "
            "export_model or export_openvino wrote ('nncf-slb benchmark' takes any IR)"
        )
    return model, info


def compile_ir(model: ov.Model, device: str, config: dict[str, Any] | None = None) -> ov.CompiledModel:
    """Compile a model.

    Raises:
        DeviceError: If the device is not there or its plugin can't compile the model.
    """
    try:
        return ov.Core().compile_model(model, device, config or {})
    except RuntimeError as error:
        raise DeviceError(
            f"device {device}: OpenVINO cannot compile the model ({last_line(error)}); devices here: "
            f"{', '.join(ov.Core().available_devices)}"
        ) from error


def device_name(device: str) -> str:
    """Full name of a device, such as a processor's; the device's own where it has none."""
    try:
        return str(ov.Core().get_property(device, "FULL_DEVICE_NAME"))
    except RuntimeError:
        return device


def with_batch(model: ov.Model, batch: int, shape: Sequence[int] | None = None) -> ov.Model:
    """The model with `batch` in place of the first dimension of each input where that is dynamic, in place.

    Args:
        model: Model to change.
        batch: Size of the batch.
        shape: Shape to fix instead, where the model has one input.

    Raises:
        SettingError: If another dimension is dynamic as well and there is no `shape`, or the network does not take it.
    """
    if shape is not None:
        return with_shape(model, shape)
    shapes = {}
    for index, port in enumerate(model.inputs):
        port_shape = port.get_partial_shape()
        rest = list(port_shape)[1:]
        if any(dimension.is_dynamic for dimension in rest):
            raise SettingError(
                f"input {index} has the shape {port_shape}, and only its first dimension may be free here: give a "
                "shape, such as --shape 1,1,256,256"
            )
        if port_shape.is_dynamic:
            shapes[index] = ov.PartialShape([batch, *rest])
    if shapes:
        model.reshape(shapes)
    return model


def with_shape(model: ov.Model, shape: Sequence[int]) -> ov.Model:
    """The model of one input with that input's shape fixed, in place.

    Raises:
        SettingError: If the network does not take such inputs.
    """
    try:
        model.reshape(ov.PartialShape(list(shape)))
    except RuntimeError as error:
        raise SettingError(
            f"the network does not take inputs of the shape {list(shape)} ({last_line(error)})"
        ) from error
    return model


def _bytes_needed(xml: Path) -> int:
    root = ElementTree.parse(xml).getroot()
    if root.tag != "net":
        raise ValueError(f"its root element is <{root.tag}>, not <net>")
    ends = [int(data.get("offset", 0)) + int(data.get("size", 0)) for data in root.iter("data") if data.get("size")]
    return max((end for end in ends), default=0)


def last_line(error: Exception) -> str:
    """The reason in OpenVINO's message, whose other lines are places in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
