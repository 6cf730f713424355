"""Reading of IR files, with errors that say which file is wrong and why, and names of what is in them."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import openvino as ov
from openvino.frontend import FrontEndManager

from nncf_slb.errors import DeviceError, SettingError, SLBError, printable
from nncf_slb.openvino.metadata import ExportInfo, MetadataError, read_metadata

# All that OpenVINO says of a text that should be a number.
_NUMBER_FUNCTIONS = ("stoi", "stol", "stoul", "stoll", "stoull", "stof", "stod")
_LONGEST_REASON = 300


def core() -> ov.Core:
    """This process's one Core.

    Each Core's CPU plugin gives the thread a stack for signals, and takes it away when the Core goes. With several that
    go in the order in which they came, the thread is left with one that is gone, and the process ends at its next
    signal, such as Ctrl-C (OpenVINO 2026.4.1 on Linux; ``openvino.compile_model`` makes a Core at each call).
    """
    return _core(os.getpid())


@cache
def _core(process: int) -> ov.Core:
    """One each for processes that came from another one by forking, which leaves OpenVINO's threads behind."""
    return ov.Core()


class IrError(SLBError, RuntimeError):
    """An IR file that cannot be used, with the reason and the remedy."""


def read_ir(path: str | Path) -> ov.Model:
    """Read an OpenVINO IR file.

    Args:
        path: ``.xml`` file; its ``.bin`` lies beside it.

    Raises:
        IrError: If one of the files is missing, truncated, damaged or something else.
    """
    xml = Path(path)
    shown = printable(xml)
    if xml.suffix != ".xml":
        raise IrError(f"{shown}: an IR file ends in .xml; give the .xml, its .bin is found beside it")
    if _file_size(xml) is None:
        raise IrError(f"{shown}: there is no such file")
    try:
        needed = _bytes_needed(xml)
        if not FrontEndManager().load_by_framework("ir").supported(str(xml)):  # else all other readers try it as well
            raise ValueError("it does not say that it is of version 10 or 11")
    except (ElementTree.ParseError, ValueError, LookupError, RuntimeError) as error:
        reason = last_line(error)
        raise IrError(f"{shown}: it is not a complete OpenVINO IR file ({reason}); export the model again") from error
    weights = xml.with_suffix(".bin")
    size = _file_size(weights)
    if size is None and needed:
        raise IrError(
            f"{printable(weights)}: there is no such file, but {printable(xml.name)} needs it; copy both files together"
        )
    if size is not None and size < needed:
        raise IrError(
            f"{printable(weights)}: it is truncated: {size:,} bytes where {printable(xml.name)} needs {needed:,}; copy "
            "or export it again"
        )
    try:
        return core().read_model(xml)
    except RuntimeError as error:
        raise IrError(f"{shown}: OpenVINO cannot read it ({last_line(error)}); export the model again") from error


def read_own_ir(path: str | Path) -> tuple[ov.Model, ExportInfo]:
    """`read_ir` for files that this package exported.

    Raises:
        IrError: As `read_ir`, or if another tool wrote the file, or what this package wrote into it is damaged.
    """
    model = read_ir(path)
    try:
        info = read_metadata(model)
    except MetadataError as error:
        raise IrError(f"{printable(path)}: what nncf_slb wrote into it is damaged: {error}; export it again") from error
    if info is None:
        raise IrError(
            f"{printable(path)}: nncf_slb did not export this IR, so it does not say which layers were searched; give "
            "a file that export_model or export_openvino wrote ('nncf-slb benchmark' takes any IR)"
        )
    if not (model.inputs and model.outputs):
        raise IrError(
            f"{printable(path)}: its network has {len(model.inputs)} inputs and {len(model.outputs)} outputs; export "
            "the model again"
        )
    return model, info


@contextmanager
def as_exported(path: str | Path) -> Iterator[None]:
    """Within it, a network is taken to be as this package exports it.

    Raises:
        IrError: In place of what goes wrong because it is not.
    """
    try:
        yield
    except SLBError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise IrError(
            f"{printable(path)}: its network is not as nncf_slb exports one ({last_line(error)}); export it again"
        ) from error


def compile_ir(
    model: ov.Model, device: str, config: dict[str, Any] | None = None, path: str | Path | None = None
) -> ov.CompiledModel:
    """Compile a model.

    Args:
        model: The model.
        device: OpenVINO device.
        config: Properties to compile with.
        path: File that it was read from, for the message.

    Raises:
        DeviceError: If the device is not there or its plugin can't compile the model.
    """
    try:
        return core().compile_model(model, device, config or {})
    except (RuntimeError, MemoryError) as error:
        raise DeviceError(
            f"{_of(path)}device {device}: OpenVINO cannot compile the model ({last_line(error)}); devices here: "
            f"{', '.join(core().available_devices)}"
        ) from error


@contextmanager
def running(path: str | Path, device: str) -> Iterator[None]:
    """Within it, a compiled model is run.

    Raises:
        DeviceError: In place of what OpenVINO raises, and where memory is short.
    """
    try:
        yield
    except SLBError:
        raise
    except (RuntimeError, MemoryError, ValueError, TypeError) as error:
        raise DeviceError(f"{_of(path)}device {device}: OpenVINO cannot run the model ({last_line(error)})") from error


def device_name(device: str) -> str:
    """Full name of a device, such as a processor's; the device's own where it has none."""
    try:
        return str(core().get_property(device, "FULL_DEVICE_NAME"))
    except RuntimeError:
        return device


def with_batch(
    model: ov.Model, batch: int, shape: Sequence[int] | None = None, path: str | Path | None = None
) -> ov.Model:
    """The model with `batch` in place of the first dimension of each input where that is dynamic, in place.

    Args:
        model: Model to change.
        batch: Size of the batch.
        shape: Shape to fix instead, where the model has one input.
        path: File that it was read from, for the message.

    Raises:
        SettingError: If another dimension is dynamic as well and there is no `shape`, or the network does not take it.
    """
    if shape is not None:
        return with_shape(model, shape, path)
    shapes = {}
    for index, port in enumerate(model.inputs):
        port_shape = port.get_partial_shape()
        if port_shape.rank.is_dynamic or any(dimension.is_dynamic for dimension in list(port_shape)[1:]):
            raise SettingError(
                f"{_of(path)}input {index} has the shape {port_shape}, and only its first dimension may be free here: "
                "give a shape, such as --shape 1,1,256,256"
            )
        if port_shape.is_dynamic:
            shapes[index] = ov.PartialShape([batch, *list(port_shape)[1:]])
    if shapes:
        _reshape(model, shapes, f"a batch of {batch}", path)
    return model


def with_shape(model: ov.Model, shape: Sequence[int], path: str | Path | None = None) -> ov.Model:
    """The model of one input with that input's shape fixed, in place.

    Args:
        model: Model to change.
        shape: Shape of the input.
        path: File that it was read from, for the message.

    Raises:
        SettingError: If the network does not take such inputs.
    """
    return _reshape(model, ov.PartialShape(list(shape)), f"inputs of the shape {list(shape)}", path)


def _reshape(model: ov.Model, shapes: Any, words: str, path: str | Path | None) -> ov.Model:
    try:
        model.reshape(shapes)
    except RuntimeError as error:
        raise SettingError(f"{_of(path)}the network does not take {words} ({last_line(error)})") from error
    return model


def bin_bytes(path: str | Path) -> int:
    """Bytes of the ``.bin`` beside an ``.xml``; 0 without one."""
    return _file_size(Path(path).with_suffix(".bin")) or 0


def _file_size(path: Path) -> int | None:
    """Bytes of a file that can be read; None where there is none."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size
    except OSError as error:
        raise IrError(f"{printable(path)}: it cannot be read ({error.strerror})") from error


def _bytes_needed(xml: Path) -> int:
    root = ElementTree.parse(xml).getroot()
    if root.tag != "net":
        raise ValueError(f"its root element is <{root.tag}>, not <net>")
    ends = [int(data.get("offset", 0)) + int(data.get("size", 0)) for data in root.iter("data") if data.get("size")]
    return max((end for end in ends), default=0)


def _of(path: str | Path | None) -> str:
    return "" if path is None else f"{printable(path)}: "


def last_line(error: Exception) -> str:
    """The reason in OpenVINO's message, whose other lines are places in its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = printable(lines[-1]) if lines else type(error).__name__
    if reason in _NUMBER_FUNCTIONS:
        return "a number in it is none, or too large"
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
