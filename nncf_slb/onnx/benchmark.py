"""Latency and throughput of IR and ONNX files side by side: OpenVINO and ONNX Runtime in turns, in one process."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from nncf_slb.errors import SettingError
from nncf_slb.onnx.reading import SUFFIX, inputs_as_model, last_line, load_session, read_onnx, runtime_name
from nncf_slb.openvino.benchmark import BURST_SECONDS, Comparison, Run, check_numbers, compare, openvino_run
from nncf_slb.openvino.ir import device_name
from nncf_slb.openvino.sample_data import Array


def benchmark_files(
    paths: Sequence[str | Path],
    *,
    device: str = "CPU",
    batch: int = 1,
    threads: int | None = None,
    rounds: int = 100,
    properties: dict[str, Any] | None = None,
    shape: Sequence[int] | None = None,
) -> Comparison:
    """Measure IR files in OpenVINO and ONNX files in ONNX Runtime (any, not only this package's) in turns.

    Args:
        paths: ``.xml`` and ``.onnx`` files.
        device: OpenVINO device; ONNX Runtime uses the CPU.
        batch: Samples in one inference, where the batch is free; a file of another fixed batch is refused.
        threads: Threads that a runtime may use; its own choice if None.
        rounds: Rounds that count.
        properties: Further properties for OpenVINO to compile with.
        shape: Shape of the input, batch included, where more than the batch is free.

    Returns:
        As `nncf_slb.benchmark_openvino`.

    Raises:
        nncf_slb.openvino.ir.IrError: If an IR cannot be used.
        nncf_slb.onnx.reading.OnnxError: If an ONNX file cannot be used, or ONNX Runtime is not installed.
        nncf_slb.errors.SettingError: If a number is below 1, or a file has another fixed batch.
        nncf_slb.errors.DeviceError: If the device cannot compile a file.
    """
    check_numbers(batch, rounds, paths)
    batch = batch if shape is None else shape[0]
    runs = []
    runtimes: dict[str, None] = {}
    for path in paths:
        if Path(path).suffix == SUFFIX:
            runs.append(_onnx_run(path, batch, threads, shape))
            runtimes[runtime_name()] = None
        else:
            runs.append(openvino_run(path, device, batch, threads, properties, shape))
    name = ", ".join([device_name(device), *runtimes])
    return compare(runs, name, batch, threads, rounds)


def _onnx_run(path: str | Path, batch: int, threads: int | None, shape: Sequence[int] | None) -> Run:
    read_onnx(path)  # whose errors say more than the runtime's
    session = load_session(path, threads)
    parallel = threads or os.cpu_count() or 1
    feeds = _feeds(session, path, batch, shape)
    many = load_session(path, 1)

    def single() -> float:
        start = time.perf_counter()
        session.run(None, feeds)
        return (time.perf_counter() - start) * 1e3

    try:
        single()
    except Exception as error:  # onnxruntime's share no class of their own
        raise SettingError(f"{path}: ONNX Runtime cannot run it on {_shapes(feeds)} ({last_line(error)})") from error
    return Run(str(path), Path(path).stat().st_size, single, _burst(many, feeds, batch, parallel))


def _burst(session: Any, feeds: dict[str, Array], batch: int, parallel: int) -> Callable[[], float]:
    """Samples a second of a burst with as many inferences at a time as threads."""
    pool = ThreadPoolExecutor(parallel)

    def run(count: int) -> float:
        start = time.perf_counter()
        list(pool.map(lambda _: session.run(None, feeds), range(count)))
        return time.perf_counter() - start

    run(parallel)
    fast = run(4 * parallel) / 4
    count = parallel * max(4, math.ceil(BURST_SECONDS / fast))
    return lambda: count * batch / run(count)


def _feeds(session: Any, path: str | Path, batch: int, shape: Sequence[int] | None) -> dict[str, Array]:
    """Normal noise for every input."""
    generator = np.random.default_rng(0)
    feeds = {}
    ports = inputs_as_model(session).inputs
    for index, (port, own) in enumerate(zip(ports, session.get_inputs(), strict=True)):
        partial = list(port.get_partial_shape())
        lengths = list(shape) if shape is not None else [batch, *(_length(path, index, own, d) for d in partial[1:])]
        fixed = [d.get_length() if d.is_static else None for d in partial]
        if len(lengths) != len(fixed) or any(f not in (None, n) for f, n in zip(fixed, lengths, strict=True)):
            raise SettingError(
                f"{path}: its input {own.name} has the shape {own.shape}, and {lengths} was asked for; use a batch or "
                "a shape that it takes"
            )
        kind = port.get_element_type().to_dtype()
        feeds[own.name] = generator.standard_normal(lengths).astype(kind) if partial else np.zeros((), kind)
    return feeds


def _length(path: str | Path, index: int, port: Any, dimension: Any) -> int:
    if dimension.is_dynamic:
        raise SettingError(
            f"{path}: input {index} has the shape {port.shape}, and only its first dimension may be free here: give a "
            "shape, such as --shape 1,1,256,256"
        )
    return int(dimension.get_length())


def _shapes(feeds: dict[str, Array]) -> str:
    return ", ".join(str(list(array.shape)) for array in feeds.values())
