"""Comparison of an exported IR with the stripped PyTorch model on the same data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from tabulate import tabulate
from torch import Tensor, nn

from nncf_slb.openvino.ir import IrError, compile_ir, device_name, read_own_ir, with_batch
from nncf_slb.openvino.layer_comparison import LayerDifference, first_difference
from nncf_slb.strip import stripped_copy

FloatArray = npt.NDArray[np.float32]
_BATCH = 16
_RANDOM_SAMPLES = 16
EXACT_TOLERANCE = 1e-3
QUANTIZED_TOLERANCE = 0.05


@dataclass(frozen=True)
class OutputDifference:
    """How one output of the IR differs from PyTorch's.

    Attributes:
        name: Name of the output, or its index.
        largest: Largest absolute difference.
        mean: Mean absolute difference.
        reference: Largest absolute value of PyTorch's output.
        agreement: Share of predictions (index of the largest value along dimension 1) that are equal, 0 to 1; None
            for outputs without classes, that is with one dimension or one channel.
    """

    name: str
    largest: float
    mean: float
    reference: float
    agreement: float | None

    @property
    def relative(self) -> float:
        """Largest difference in units of PyTorch's largest value."""
        return self.largest / max(self.reference, 1e-12)


@dataclass(frozen=True)
class Verification:
    """Result of `verify_openvino`.

    Attributes:
        path: The ``.xml`` file.
        device: Processor or accelerator that ran it.
        samples: Samples compared.
        tolerance: Largest relative difference allowed.
        outputs: One entry per output.
        first_layer: First layer that differs by more than the tolerance, where an output does; else None.
    """

    path: str
    device: str
    samples: int
    tolerance: float
    outputs: tuple[OutputDifference, ...]
    first_layer: LayerDifference | None

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance (and is a number)."""
        return all(output.relative <= self.tolerance for output in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return {**dataclasses.asdict(self), "passed": self.passed}

    def to_str(self) -> str:
        """Table for the terminal."""
        rows = [
            [
                output.name, f"{output.largest:.3g}", f"{output.mean:.3g}", f"{output.reference:.3g}",
                f"{output.relative:.3g}", "" if output.agreement is None else f"{output.agreement:.2%}",
            ]
            for output in self.outputs
        ]  # fmt: skip
        header = ["output", "largest difference", "mean", "largest value", "relative", "same prediction"]
        lines = [
            f"{self.path} on {self.device} against PyTorch, {self.samples} samples",
            tabulate(rows, headers=header, disable_numparse=True, colalign=("left",) + ("right",) * 5),
            f"{'within' if self.passed else 'OUT OF'} tolerance: relative differences up to {self.tolerance:g} allowed",
        ]
        if self.first_layer is not None:
            lines.append(self.first_layer.to_str())
        elif not self.passed:
            lines.append(
                "No layer differs while the outputs of all are kept: the difference arises behind the last one, or "
                "where the plugin fuses layers whose outputs it need not keep"
            )
        return "\n".join(lines)


def verify_openvino(
    model: Any,
    path: str | Path,
    data: Any = None,
    *,
    tolerance: float | None = None,
    device: str = "CPU",
    properties: dict[str, Any] | None = None,
) -> Verification:
    """Run the stripped PyTorch model and an IR on the same data.

    Args:
        model: Controller (of `slb`, or a composite that holds one), which stays as it is, or a stripped model.
        path: ``.xml`` file that was exported from it.
        data: Tensor or array, or a tuple of them for several inputs; dimension 0 counts samples. By default 16 samples
            of standard normal numbers (seed 0).
        tolerance: Largest difference allowed, in units of the output's largest value. By default 0.001 where the
            network quantizes no activations; else 0.05, since a rounding flip of one level moves everything after it.
        device: OpenVINO device to run on.
        properties: Properties to compile with. By default floating point parts run in float32, as PyTorch's do, even
            where the device would choose bfloat16 (``INFERENCE_PRECISION_HINT``).

    Returns:
        Largest and mean difference, agreement of predictions, and the first layer out of tolerance.

    Raises:
        nncf_slb.openvino.ir.IrError: If the IR is missing, truncated, not one of this package's or does not compile,
            or the data does not fit it.
    """
    ir, _ = read_own_ir(path)
    inputs = _inputs(ir, data)
    if tolerance is None:
        quantizes = any(node.get_type_name() == "FakeQuantize" for node in ir.get_ops())
        tolerance = QUANTIZED_TOLERANCE if quantizes else EXACT_TOLERANCE
    settings = {"INFERENCE_PRECISION_HINT": "f32", **(properties or {})}
    stripped = stripped_copy(model).eval()
    names = [_name(port, index) for index, port in enumerate(ir.outputs)]
    reference, ours = _both(stripped, ir, inputs, device, settings)
    outputs = tuple(_difference(*each) for each in zip(names, ours, reference, strict=True))
    first_layer = None
    if not all(output.relative <= tolerance for output in outputs):
        fresh, _ = read_own_ir(path)
        first = [each[:_batch_of(fresh, inputs)] for each in inputs]
        first_layer = first_difference(stripped, fresh, first, tolerance, device, settings)
    return Verification(str(path), device_name(device), len(inputs[0]), tolerance, outputs, first_layer)


def _inputs(ir: ov.Model, data: Any) -> list[FloatArray]:
    if data is None:
        generator = np.random.default_rng(0)
        return [_random(port, generator) for port in ir.inputs]
    several = isinstance(data, tuple | list)
    arrays = [each.numpy() if isinstance(each, Tensor) else np.asarray(each) for each in (data if several else [data])]
    ports = [port.get_partial_shape() for port in ir.inputs]
    fit = len(arrays) == len(ports) and all(
        array.ndim == len(shape) and ov.PartialShape([-1, *array.shape[1:]]).compatible(_free_batch(shape))
        for array, shape in zip(arrays, ports, strict=False)
    )
    if not fit or len({len(array) for array in arrays}) != 1 or not len(arrays[0]):
        received = ", ".join(str(list(array.shape)) for array in arrays)
        raise IrError(
            f"data: received {received}; the network takes {', '.join(map(str, ports))}, where the first dimension may "
            "be any number of samples, the same for every input"
        )
    return arrays


def _free_batch(shape: ov.PartialShape) -> ov.PartialShape:
    return ov.PartialShape([-1, *list(shape)[1:]])


def _random(port: ov.Output, generator: np.random.Generator) -> FloatArray:
    lengths = [_RANDOM_SAMPLES]
    for dimension in list(port.get_partial_shape())[1:]:
        if dimension.is_dynamic:
            raise IrError(f"data: received none, and the network takes {port.get_partial_shape()}: pass data")
        lengths.append(dimension.get_length())
    return generator.standard_normal(lengths).astype(np.float32)


def _name(port: ov.Output, index: int) -> str:
    names = sorted(port.get_names())
    return names[0] if names else str(index)


def _batch_of(ir: ov.Model, inputs: Sequence[FloatArray]) -> int:
    dimension = ir.inputs[0].get_partial_shape()[0]
    return min(_BATCH, len(inputs[0])) if dimension.is_dynamic else int(dimension.get_length())


@torch.no_grad()
def _both(
    stripped: nn.Module, ir: ov.Model, inputs: list[FloatArray], device: str, settings: dict[str, Any]
) -> tuple[list[FloatArray], list[FloatArray]]:
    """All outputs of PyTorch and of the IR."""
    batch = _batch_of(ir, inputs)
    if all(not dimension.is_dynamic for port in ir.inputs for dimension in list(port.get_partial_shape())[1:]):
        with_batch(ir, batch)
    compiled = compile_ir(ir, device, settings)
    where = next((p.device for p in (*stripped.parameters(), *stripped.buffers())), torch.device("cpu"))
    reference: list[list[FloatArray]] = []
    ours: list[list[FloatArray]] = []
    for chunk, count in _chunks(inputs, batch):
        expected = _torch_outputs(stripped(*(torch.from_numpy(each).to(where) for each in chunk)))
        result = compiled(chunk)
        reference.append([each.cpu().numpy()[:count] for each in expected])
        ours.append([result[index][:count].copy() for index in range(len(ir.outputs))])
    if len(reference[0]) != len(ours[0]):
        raise IrError(f"the IR has {len(ours[0])} outputs, the PyTorch model {len(reference[0])}: another network?")
    return [np.concatenate(each) for each in zip(*reference, strict=True)], [
        np.concatenate(each) for each in zip(*ours, strict=True)
    ]


def _torch_outputs(result: Any) -> list[Tensor]:
    """Tensors of a module's result, in the order in which OpenVINO's converter makes outputs of them."""
    if isinstance(result, Tensor):
        return [result]
    entries = result.values() if isinstance(result, dict) else result
    return [tensor for entry in entries for tensor in _torch_outputs(entry)]


def _chunks(inputs: list[FloatArray], batch: int) -> Iterator[tuple[list[FloatArray], int]]:
    """Batches of one size, the last one filled up with its own last sample, and the samples of each that count."""
    for start in range(0, len(inputs[0]), batch):
        chunk = [each[start : start + batch] for each in inputs]
        count = len(chunk[0])
        yield [np.concatenate([each, np.repeat(each[-1:], batch - count, axis=0)]) for each in chunk], count


def _difference(name: str, ours: FloatArray, reference: FloatArray) -> OutputDifference:
    if ours.shape != reference.shape:
        raise IrError(
            f"output {name}: the IR gives {list(ours.shape)}, PyTorch {list(reference.shape)}: another network?"
        )
    apart = np.abs(ours.astype(np.float64) - reference)
    agreement = None
    if reference.ndim > 1 and reference.shape[1] > 1:
        agreement = float((ours.argmax(1) == reference.argmax(1)).mean())
    largest = float(apart.max()) if np.isfinite(apart).all() else float("inf")
    return OutputDifference(name, largest, float(apart.mean()), float(np.abs(reference).max()), agreement)
