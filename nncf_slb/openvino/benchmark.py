"""Latency and throughput of IR files side by side: measured in turns, in one process, so that drift hits all alike."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from nncf_slb.errors import SettingError, printable
from nncf_slb.openvino.ir import bin_bytes, compile_ir, device_name, read_ir, running, with_batch
from nncf_slb.tables import terminal_table

_WARM_UP = 0.1  # share of the rounds
BURST_SECONDS = 0.05


@dataclass(frozen=True)
class Spread:
    """Median of repeated measurements, and the tenth and ninetieth percentile around it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Timing:
    """One file.

    Attributes:
        path: The file.
        bin_bytes: Size of its ``.bin``, or of an ONNX file.
        latency: Milliseconds of one inference, one after another.
        throughput: Samples a second with several inferences at a time.
        latency_ratio: How many times as fast as the first file was in the same round, by latency.
        throughput_ratio: The same by throughput.
    """

    path: str
    bin_bytes: int
    latency: Spread
    throughput: Spread
    latency_ratio: Spread
    throughput_ratio: Spread


@dataclass(frozen=True)
class Comparison:
    """Result of `benchmark_openvino` and `nncf_slb.benchmark_files`.

    Attributes:
        device: Processor or accelerator, and the runtime where that is not OpenVINO alone.
        date: ISO date.
        batch: Samples in one inference.
        threads: Threads used; None for the device's default.
        timings: One entry per file, in the order given.
    """

    device: str
    date: str
    batch: int
    threads: int | None
    timings: tuple[Timing, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return dataclasses.asdict(self)

    def to_str(self) -> str:
        """Table for the terminal; the ratios are to the first file, above 1 is faster."""
        rows = [
            [
                printable(Path(timing.path).name), f"{timing.bin_bytes:,}", f"{timing.latency.median:.3f}",
                f"{timing.latency.low:.3f} - {timing.latency.high:.3f}",
                f"{timing.latency_ratio.median:.2f}", f"{timing.throughput.median:.1f}",
                f"{timing.throughput_ratio.median:.2f}",
            ]
            for timing in self.timings
        ]  # fmt: skip
        header = ["file", "bytes", "ms", "10-90 %", "ratio", "samples/s", "ratio"]
        threads = "the device's default" if self.threads is None else str(self.threads)
        return "\n".join(
            [
                f"{self.device}, {self.date}, batch {self.batch}, threads: {threads}",
                terminal_table(header, rows, "lrrrrrr"),
                "ratio: how many times as fast as the first file in the same round, median",
            ]
        )


@dataclass(frozen=True)
class Run:
    """A file that is ready to be measured.

    Attributes:
        path: The file.
        bytes: Bytes that hold its weights.
        single: Runs one inference; gives milliseconds.
        burst: Runs many; gives samples a second.
    """

    path: str
    bytes: int
    single: Callable[[], float]
    burst: Callable[[], float]


def benchmark_openvino(
    paths: Sequence[str | Path],
    *,
    device: str = "CPU",
    batch: int = 1,
    threads: int | None = None,
    rounds: int = 100,
    properties: dict[str, Any] | None = None,
    shape: Sequence[int] | None = None,
) -> Comparison:
    """Measure IR files (any, not only this package's) in turns.

    Each round runs one inference of each IR for its latency, then a burst on each for its throughput. The first tenth
    of the rounds warms up and does not count.

    Args:
        paths: ``.xml`` files.
        device: OpenVINO device.
        batch: Samples in one inference, where the batch is free; an IR of another fixed batch is refused.
        threads: Threads that the CPU may use; the device's default if None.
        rounds: Rounds that count.
        properties: Further properties to compile with.
        shape: Shape of the input, batch included, where more than the batch is free.

    Returns:
        Median and spread of latency (milliseconds), throughput (samples a second) and the ratios of both to the first
        IR's in the same round, which a machine whose speed drifts hardly touches.

    Raises:
        nncf_slb.openvino.ir.IrError: If a file cannot be used.
        nncf_slb.errors.SettingError: If a number is below 1, or a file has another fixed batch.
        nncf_slb.errors.DeviceError: If the device cannot compile it.
    """
    check_numbers(batch, rounds, paths)
    batch = batch if shape is None else shape[0]
    runs = [openvino_run(path, device, batch, threads, properties, shape) for path in paths]
    return compare(runs, device_name(device), batch, threads, rounds)


def check_numbers(batch: int, rounds: int, paths: Sequence[str | Path]) -> None:
    """Refuse numbers below 1.

    Raises:
        SettingError: Naming the first of them.
    """
    for name, value in {"batch": batch, "rounds": rounds, "paths": len(paths)}.items():
        if value < 1:
            raise SettingError(f"{name}: received {value}; allowed is at least 1")


def openvino_run(
    path: str | Path,
    device: str,
    batch: int,
    threads: int | None,
    properties: dict[str, Any] | None,
    shape: Sequence[int] | None,
) -> Run:
    """An IR, compiled; arguments as for `benchmark_openvino`."""
    settings = dict(properties or {})
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    model = _read(path, batch, shape)
    fast = compile_ir(model, device, {"PERFORMANCE_HINT": "LATENCY", **settings}, path)
    many = compile_ir(model, device, {"PERFORMANCE_HINT": "THROUGHPUT", **settings}, path)
    with running(path, device):
        return Run(str(path), bin_bytes(path), _single(fast), _burst(many, batch))


def compare(runs: Sequence[Run], device: str, batch: int, threads: int | None, rounds: int) -> Comparison:
    """Measure files in turns; `device` is how the result calls what they run on."""
    latencies = _in_turns([run.single for run in runs], rounds)
    throughputs = _in_turns([run.burst for run in runs], rounds)
    timings = tuple(
        Timing(
            run.path, run.bytes, _spread(latency), _spread(throughput),
            _spread(latencies[0] / latency), _spread(throughput / throughputs[0]),
        )
        for run, latency, throughput in zip(runs, latencies, throughputs, strict=True)
    )  # fmt: skip
    return Comparison(device, date.today().isoformat(), batch, threads, timings)


def _read(path: str | Path, batch: int, shape: Sequence[int] | None) -> ov.Model:
    model = with_batch(read_ir(path), batch, shape, path)
    fixed = {int(port.get_partial_shape()[0].get_length()) for port in model.inputs if len(port.get_partial_shape())}
    if fixed - {batch}:
        raise SettingError(
            f"{printable(path)}: its batch size is fixed to {fixed.pop()}, and batch is {batch}; use the same for all"
        )
    return model


def _example(compiled: ov.CompiledModel) -> list[npt.NDArray[Any]]:
    generator = np.random.default_rng(0)
    return [
        generator.standard_normal(list(port.get_shape())).astype(port.get_element_type().to_dtype())
        for port in compiled.inputs
    ]


def _single(compiled: ov.CompiledModel) -> Callable[[], float]:
    """Milliseconds of one inference."""
    request, example = compiled.create_infer_request(), _example(compiled)

    def measure() -> float:
        start = time.perf_counter()
        request.infer(example, share_inputs=True)
        return (time.perf_counter() - start) * 1e3

    measure()  # what cannot run shows here
    return measure


def _burst(compiled: ov.CompiledModel, batch: int) -> Callable[[], float]:
    """Samples a second of a burst that keeps all the inferences busy that the device runs at a time."""
    queue, example = ov.AsyncInferQueue(compiled), _example(compiled)

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            queue.start_async(example, share_inputs=True)
        queue.wait_all()
        return time.perf_counter() - start

    run(len(queue))
    fast = run(4 * len(queue)) / 4
    # Long enough that starting the threads and the caches that another network left do not weigh in.
    count = len(queue) * max(4, math.ceil(BURST_SECONDS / fast))
    return lambda: count * batch / run(count)


def _in_turns(measures: list[Callable[[], float]], rounds: int) -> npt.NDArray[np.float64]:
    """What each measures, one row per measure and one column per round."""
    results: list[list[float]] = [[] for _ in measures]
    warm_up = max(2, int(rounds * _WARM_UP))
    for index in range(warm_up + rounds):
        for measure, values in zip(measures, results, strict=True):
            value = measure()
            if index >= warm_up:
                values.append(value)
    return np.array(results)


def _spread(values: npt.NDArray[np.float64]) -> Spread:
    low, median, high = np.percentile(values, [10, 50, 90])
    return Spread(float(median), float(low), float(high))
