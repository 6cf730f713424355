"""Reading and loading of ONNX files, with errors that say which file is wrong and why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from nncf_slb.errors import SLBError

if TYPE_CHECKING:
    import onnx

    from nncf_slb.onnx.metadata import OnnxInfo

SUFFIX = ".onnx"
_TYPES = {"float16": np.float16, "float": np.float32, "double": np.float64, "bool": np.bool_} | {
    f"{sign}int{bits}": np.dtype(f"{sign}int{bits}").type for sign in ("", "u") for bits in (8, 16, 32, 64)
}


class OnnxError(SLBError, RuntimeError):
    """An ONNX file that cannot be used, with the reason and the remedy."""


def read_onnx(path: str | Path) -> onnx.ModelProto:
    """Read an ONNX file; external data stays outside.

    Raises:
        OnnxError: If it is missing, truncated or something else, or lacks its external data.
    """
    onnx = _imported("onnx")
    file = Path(path)
    if file.suffix != SUFFIX:
        raise OnnxError(f"{file}: an ONNX file ends in {SUFFIX}")
    if not file.is_file():
        raise OnnxError(f"{file}: there is no such file")
    try:
        model: Any = onnx.load(file, load_external_data=False)
    except Exception as error:  # protobuf's, whose class depends on its implementation
        raise OnnxError(f"{file}: it is no complete ONNX file ({last_line(error)}); copy or export it again") from error
    if not model.graph.node or not model.opset_import:
        raise OnnxError(f"{file}: it is no complete ONNX file (it has no operators); copy or export it again")
    if any(not isinstance(text, str) for text in _texts(model)):  # what is no UTF-8 comes as bytes
        raise OnnxError(f"{file}: it is no complete ONNX file (a name in it is no text); copy or export it again")
    for name in sorted(_external(model)):
        if not (file.parent / name).is_file():
            raise OnnxError(f"{file}: its weights lie in {file.parent / name}, which is missing; copy both files")
    return model  # type: ignore[no-any-return]


def read_own_onnx(path: str | Path) -> tuple[onnx.ModelProto, OnnxInfo]:
    """`read_onnx` for files that this package exported.

    Raises:
        OnnxError: As `read_onnx`, or if another tool wrote the file.
    """
    model = read_onnx(path)
    from nncf_slb.onnx.metadata import read_metadata

    info = read_metadata(model)
    if info is None or _external(model):
        raise OnnxError(
            f"{path}: nncf_slb did not export this file as it is, so it does not say which layers were searched; give "
            "one that export_model or export_openvino wrote ('nncf-slb benchmark' takes any ONNX file)"
        )
    return model, info


def load_session(
    path: str | Path, threads: int | None = None, optimize: bool = True, written: Path | None = None
) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        path: ONNX file.
        threads: Threads of one inference; the runtime's choice if None.
        optimize: Whether the runtime may rewrite the graph.
        written: Where to write the rewritten graph.

    Raises:
        OnnxError: If ONNX Runtime is not installed, or cannot load the file.
    """
    runtime = _imported("onnxruntime")
    try:
        return session_of(str(path), threads, optimize, written)
    except Exception as error:  # onnxruntime's share no class of their own
        raise OnnxError(
            f"{path}: ONNX Runtime {runtime.__version__} cannot load it ({last_line(error)}); export it again with an "
            "older opset, or install a newer onnxruntime"
        ) from error


def session_of(
    model: str | bytes, threads: int | None = None, optimize: bool = True, written: Path | None = None
) -> Any:
    """`load_session` of a path or of a file's bytes, whose errors are the runtime's own.

    Raises:
        OnnxError: If ONNX Runtime is not installed.
        Exception: Those of the runtime, which share no class of their own.
    """
    runtime = _imported("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if written is not None:
        options.optimized_model_filepath = str(written)
    # Its second attempt would print to the terminal.
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def runtime_name() -> str:
    """ONNX Runtime with its version.

    Raises:
        OnnxError: If it is not installed.
    """
    return f"ONNX Runtime {_imported('onnxruntime').__version__}"


def inputs_as_model(session: Any) -> ov.Model:
    """An OpenVINO model with the inputs of a session, for what checks data against one."""
    parameters = []
    for port in session.get_inputs():
        shape = ov.PartialShape([length if isinstance(length, int) else -1 for length in port.shape])
        kind = re.fullmatch(r"tensor\((\w+)\)", port.type)
        if kind is None or kind[1] not in _TYPES:
            raise OnnxError(f"input {port.name}: received {port.type}; allowed are tensors of numbers")
        parameters.append(ops.parameter(shape, _TYPES[kind[1]], name=port.name))
    return ov.Model([ops.result(parameter) for parameter in parameters], parameters)


def last_line(error: Exception) -> str:
    """The end of a message, whose beginning is often places in another program's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _texts(model: Any) -> Iterator[Any]:
    """Names of operators and tensors, and properties."""
    for node in model.graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
    for named in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        yield named.name
    for each in model.metadata_props:
        yield from (each.key, each.value)


def _external(model: Any) -> set[str]:
    """Files with external data, relative to the model's."""
    return {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == tensor.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise OnnxError(f"ONNX files need the extra 'onnx': pip install '.[onnx]' ({error})") from error
