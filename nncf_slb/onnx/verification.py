"""Comparison of an exported ONNX file in ONNX Runtime with the stripped PyTorch model on the same data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from nncf_slb.errors import DataError, SettingError
from nncf_slb.onnx.layer_comparison import first_difference
from nncf_slb.onnx.metadata import OnnxInfo
from nncf_slb.onnx.reading import OnnxError, inputs_as_model, last_line, load_session, read_own_onnx, runtime_name
from nncf_slb.openvino.layer_comparison import LayerDifference, run_torch
from nncf_slb.openvino.low_bit_model import in_float32
from nncf_slb.openvino.output_comparison import (
    EXACT_TOLERANCE,
    QUANTIZED_TOLERANCE,
    OutputDifference,
    chunks,
    difference_table,
    moved_as_far,
    output_difference,
    refuse_without_samples,
)
from nncf_slb.openvino.same_side import NOISES, noisy_quantizers
from nncf_slb.openvino.sample_data import Array, input_arrays
from nncf_slb.openvino.stripped_network import stripped_network

_BATCHES = (16, 1)
_QUANTIZING = {"QuantizeLinear", "Where"}


@dataclass(frozen=True)
class OnnxLoading:
    """One way to run the file, and what came of it.

    Attributes:
        batch: Samples in one inference.
        optimized: Whether the runtime rewrote the graph, as it does by default.
        relative: Largest difference of all outputs, in units of PyTorch's largest value.
    """

    batch: int
    optimized: bool
    relative: float

    def to_str(self) -> str:
        """Name of the way."""
        return f"batch {self.batch}, {'optimized' if self.optimized else 'without optimizations'}"


@dataclass(frozen=True)
class OnnxVerification:
    """Result of `verify_onnx`.

    Attributes:
        path: The file.
        runtime: ONNX Runtime with its version.
        samples: Samples compared.
        tolerance: Largest relative difference allowed.
        outputs: One entry per output, with all samples, of the way that differs most.
        loadings: The ways in which the file was run.
        by_rounding: Whether outputs beyond the tolerance are a matter of rounding: they differ no more than PyTorch's
            do when the inputs of its quantizers are off by the last digits.
        first_layer: First layer out of tolerance, where outputs are, and not by rounding; None if none differs while
            the outputs of all are kept.
    """

    path: str
    runtime: str
    samples: int
    tolerance: float
    outputs: tuple[OutputDifference, ...]
    loadings: tuple[OnnxLoading, ...]
    by_rounding: bool
    first_layer: LayerDifference | None = None

    @property
    def within(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(output.relative <= self.tolerance for output in self.outputs)

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance (and is a number), or beyond it by rounding alone."""
        return self.within or self.by_rounding

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return {**dataclasses.asdict(self), "passed": self.passed}

    def to_str(self) -> str:
        """Table for the terminal."""
        worst = max(self.loadings, key=lambda loading: loading.relative)
        lines = [
            f"{self.path} in {self.runtime} against PyTorch, {self.samples} samples",
            difference_table(self.outputs),
            f"run in {len(self.loadings)} ways; most differs: {worst.to_str()}",
            f"{'within' if self.within else 'OUT OF'} tolerance: relative differences up to {self.tolerance:g} allowed",
        ]
        if not self.within:
            plain = max(loading.relative for loading in self.loadings if not loading.optimized)
            lines.append(
                "by rounding alone: PyTorch's outputs move as far when inputs of its quantizers are off by last digits"
                if self.by_rounding
                else f"without optimizations the largest relative difference is {plain:.3g}"
            )
            if self.first_layer is not None:
                lines.append(self.first_layer.to_str())
        return "\n".join(lines)


def verify_onnx(model: Any, path: str | Path, data: Any = None, *, tolerance: float | None = None) -> OnnxVerification:
    """Run the stripped PyTorch model and an ONNX file on the same data, the latter with and without optimizations.

    Args:
        model: Controller (of `slb`, or a composite that holds one), which stays as it is, or a stripped model.
        path: ``.onnx`` file that was exported from it.
        data: As for `nncf_slb.verify_openvino`.
        tolerance: Largest difference allowed, in units of the output's largest value. By default 0.001 where the
            network quantizes no activations; else 0.05, since a rounding flip of one level moves everything after it.

    Raises:
        nncf_slb.onnx.reading.OnnxError: If the file is missing, truncated, not one of this package's or of another
            network; or if ONNX Runtime is not installed.
        nncf_slb.errors.SettingError: If the tolerance is negative or not a number.
        nncf_slb.errors.DataError: If the data does not fit it, or an output does not count samples along its first
            dimension.
        TypeError: If `model` is neither a controller nor a torch module.
    """
    if tolerance is not None and not tolerance >= 0:
        raise SettingError(f"tolerance: received {tolerance}; allowed is a number from 0 on")
    graph, info = read_own_onnx(path)
    sessions = {optimized: load_session(path, optimize=optimized) for optimized in (True, False)}
    inputs = input_arrays(inputs_as_model(sessions[True]), data, path)
    rounds = any(node.op_type in _QUANTIZING or node.op_type == "MatMulNBits" for node in graph.graph.node)
    if tolerance is None:
        tolerance = QUANTIZED_TOLERANCE if rounds else EXACT_TOLERANCE
    stripped, _ = in_float32(stripped_network(model).eval(), ())
    names = [port.name for port in sessions[True].get_outputs()]
    ways = []
    for batch in _batches(sessions[True], len(inputs[0])):
        reference = _torch_outputs(stripped, inputs, info, batch)
        for optimized, session in sessions.items():
            ours = _outputs(session, inputs, batch)
            if len(ours) != len(reference):
                raise OnnxError(
                    f"the file has {len(ours)} outputs, the PyTorch model {len(reference)}: another network?"
                )
            differences = [_difference(*output) for output in zip(names, ours, reference, strict=True)]
            loading = OnnxLoading(batch, optimized, max(difference.relative for difference in differences))
            ways.append((loading, tuple(differences), ours, reference))
    worst = max(ways, key=lambda way: way[0].relative)
    by_rounding, first_layer = False, None
    if not worst[0].relative <= tolerance:
        chunk, _ = next(chunks(inputs, worst[0].batch))
        first_layer = first_difference(stripped, graph, chunk, info.call_form, tolerance)
        by_rounding = rounds and first_layer is None and _rounding_explains(stripped, inputs, info, worst)
    loadings = tuple(way[0] for way in ways)
    return OnnxVerification(
        str(path), runtime_name(), len(inputs[0]), tolerance, worst[1], loadings, by_rounding, first_layer
    )  # fmt: skip


def _batches(session: Any, samples: int) -> list[int]:
    fixed = {port.shape[0] for port in session.get_inputs() if port.shape and isinstance(port.shape[0], int)}
    return [max(fixed)] if fixed else sorted({min(size, samples) for size in _BATCHES}, reverse=True)


def _torch_outputs(stripped: nn.Module, inputs: list[Array], info: OnnxInfo, batch: int) -> list[Array]:
    results = []
    for chunk, count in chunks(inputs, batch):
        outputs = run_torch(stripped, chunk, info.call_form)
        refuse_without_samples(outputs, batch)
        results.append([tensor.detach().cpu().numpy()[:count] for tensor in outputs])
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _outputs(session: Any, inputs: list[Array], batch: int) -> list[Array]:
    names = [port.name for port in session.get_inputs()]
    results = []
    for chunk, count in chunks(inputs, batch):
        try:
            outputs = session.run(None, dict(zip(names, chunk, strict=True)))
        except Exception as error:  # onnxruntime's share no class of their own
            raise DataError(f"data: ONNX Runtime cannot run the file on it ({last_line(error)})") from error
        results.append([array[:count] for array in outputs])
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def _difference(name: str, ours: Array, reference: Array) -> OutputDifference:
    if ours.shape != reference.shape:
        raise OnnxError(
            f"output {name}: the file gives {list(ours.shape)}, PyTorch {list(reference.shape)}: another network?"
        )
    return output_difference(name, ours, reference)


def _rounding_explains(stripped: nn.Module, inputs: list[Array], info: OnnxInfo, worst: Any) -> bool:
    """Whether PyTorch's outputs move about as far where the inputs of its quantizers are off by the last digits."""
    loading, _, ours, reference = worst
    moved = [0.0] * len(reference)
    for lowest, highest in NOISES:
        with noisy_quantizers(stripped, lowest, highest, {}):
            noisy = _torch_outputs(stripped, inputs, info, loading.batch)
        for index, output in enumerate(noisy):
            moved[index] = max(moved[index], float(np.abs(output - reference[index]).mean()))
    return moved_as_far(ours, reference, moved)
