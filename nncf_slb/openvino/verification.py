"""Comparison of an exported IR with the stripped PyTorch model on the same data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from tabulate import tabulate
from torch import Tensor, nn

from nncf_slb.openvino.ir import IrError, compile_ir, device_name, read_own_ir, with_batch
from nncf_slb.openvino.layer_comparison import LayerDifference, first_difference, run_torch
from nncf_slb.openvino.sample_data import Array, input_arrays
from nncf_slb.strip import stripped_copy

_BATCH = 16
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
        data: Tensor or array, or a tuple of them for several inputs; dimension 0 counts samples. Numbers become those
            of the network's inputs, but no fractions become whole numbers. By default 16 samples of standard normal
            numbers (seed 0), for inputs that take fractions.
        tolerance: Largest difference allowed, in units of the output's largest value. By default 0.001 where the
            network quantizes no activations; else 0.05, since a rounding flip of one level moves everything after it.
        device: OpenVINO device to run on.
        properties: Properties to compile with. By default floating point parts run in float32, as PyTorch's do, even
            where the device would choose bfloat16 (``INFERENCE_PRECISION_HINT``).

    Returns:
        Largest and mean difference, agreement of predictions, and the first layer out of tolerance.

    Raises:
        nncf_slb.openvino.ir.IrError: If the IR is missing, truncated, not one of this package's or does not compile,
            or the data does not fit it, or an output does not count samples along its first dimension.
        TypeError: If `model` is neither a controller nor a torch module.
    """
    ir, _ = read_own_ir(path)
    inputs = input_arrays(ir, data)
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
        first = [each[: _batch_of(fresh, inputs)] for each in inputs]
        first_layer = first_difference(stripped, fresh, first, tolerance, device, settings)
    return Verification(str(path), device_name(device), len(inputs[0]), tolerance, outputs, first_layer)


def _name(port: ov.Output, index: int) -> str:
    names = sorted(port.get_names())
    return names[0] if names else str(index)


def _batch_of(ir: ov.Model, inputs: Sequence[Array]) -> int:
    dimension = ir.inputs[0].get_partial_shape()[0]
    return min(_BATCH, len(inputs[0])) if dimension.is_dynamic else int(dimension.get_length())


def _both(
    stripped: nn.Module, ir: ov.Model, inputs: list[Array], device: str, settings: dict[str, Any]
) -> tuple[list[Array], list[Array]]:
    """All outputs of PyTorch and of the IR."""
    batch = _batch_of(ir, inputs)
    if all(not dimension.is_dynamic for port in ir.inputs for dimension in list(port.get_partial_shape())[1:]):
        with_batch(ir, batch)
    compiled = compile_ir(ir, device, settings)
    reference: list[list[Array]] = []
    ours: list[list[Array]] = []
    for chunk, count in _chunks(inputs, batch):
        expected = _torch_outputs(run_torch(stripped, chunk))
        _refuse_without_samples(expected, batch)
        result = compiled(chunk)
        reference.append([each.detach().cpu().numpy()[:count] for each in expected])
        ours.append([result[index][:count].copy() for index in range(len(ir.outputs))])
    if len(reference[0]) != len(ours[0]):
        raise IrError(f"the IR has {len(ours[0])} outputs, the PyTorch model {len(reference[0])}: another network?")
    return [np.concatenate(each) for each in zip(*reference, strict=True)], [
        np.concatenate(each) for each in zip(*ours, strict=True)
    ]


def _refuse_without_samples(outputs: list[Tensor], batch: int) -> None:
    wrong = [f"output {k}, {list(each.shape)}" for k, each in enumerate(outputs) if each.shape[:1] != (batch,)]
    if wrong:
        raise IrError(
            f"model: a batch of {batch} gives {'; '.join(wrong)}; allowed are outputs whose first dimension counts "
            "samples, such as logits but no loss. Export a network that returns only such outputs"
        )


def _torch_outputs(result: Any) -> list[Tensor]:
    """Tensors of a module's result, in the order in which OpenVINO's converter makes outputs of them."""
    if isinstance(result, Tensor):
        return [result]
    entries = result.values() if isinstance(result, dict) else result
    return [tensor for entry in entries for tensor in _torch_outputs(entry)]


def _chunks(inputs: list[Array], batch: int) -> Iterator[tuple[list[Array], int]]:
    """Batches of one size, the last one filled up with its own last sample, and the samples of each that count."""
    for start in range(0, len(inputs[0]), batch):
        chunk = [each[start : start + batch] for each in inputs]
        count = len(chunk[0])
        yield [np.concatenate([each, np.repeat(each[-1:], batch - count, axis=0)]) for each in chunk], count


def _difference(name: str, ours: Array, reference: Array) -> OutputDifference:
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
