"""Comparison of an exported IR with the stripped PyTorch model on the same data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from torch import nn

from nncf_slb.errors import SettingError, printable
from nncf_slb.openvino.ir import IrError, as_exported, compile_ir, device_name, read_own_ir, running, with_batch
from nncf_slb.openvino.layer_comparison import LayerComparison, LayerDifference, compare_layers, run_torch
from nncf_slb.openvino.low_bit_model import in_float32
from nncf_slb.openvino.metadata import ExportInfo
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

_BATCH, _OTHERS = 16, (5, 7)
_FEW = 4
_LARGEST_BATCH = 4096  # of an example that the file runs with


@dataclass(frozen=True)
class Loading:
    """One way to load the file, and what came of it.

    Attributes:
        batch: Samples in one inference.
        fixed: Whether the batch was fixed when the file was loaded; else the file ran as it is.
        relative: Largest difference of all outputs, in units of PyTorch's largest value.
    """

    batch: int
    fixed: bool
    relative: float

    def to_str(self) -> str:
        """Name of the way."""
        return f"batch {self.batch}, {'fixed when loaded' if self.fixed else 'file as it is'}"


@dataclass(frozen=True)
class Verification:
    """Result of `verify_openvino`.

    Attributes:
        path: The ``.xml`` file.
        device: Processor or accelerator that ran it.
        samples: Samples compared.
        tolerance: Largest relative difference allowed.
        outputs: One entry per output, with all samples; where only another way to load the file is out of tolerance,
            that way's.
        loadings: The ways in which the file was loaded: as it is with several batches, and with a fixed batch.
        first_layer: First layer that differs by more than the tolerance, where an output does; else None.
        by_rounding: Whether outputs beyond the tolerance are a matter of rounding: every layer agrees where PyTorch
            computes from the IR's own quantized inputs, and the outputs are those with which that was seen, or differ
            no more than PyTorch's do when the inputs of its quantizers are off by the last digits.
        joint_ranges: Where that is so, quantizers of NNCF's that meet others of another range in a Concat. OpenVINO
            rounds all of them to the step of their joint range.
    """

    path: str
    device: str
    samples: int
    tolerance: float
    outputs: tuple[OutputDifference, ...]
    loadings: tuple[Loading, ...]
    first_layer: LayerDifference | None
    by_rounding: bool
    joint_ranges: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance (and is a number), or beyond it by rounding alone."""
        return self.within or self.by_rounding

    @property
    def within(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(output.relative <= self.tolerance for output in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return {**dataclasses.asdict(self), "passed": self.passed}

    def to_str(self) -> str:
        """Table for the terminal."""
        lines = [
            f"{printable(self.path)} on {self.device} against PyTorch, {self.samples} samples",
            difference_table(self.outputs),
            f"loaded in {len(self.loadings)} ways; most differs: {self._worst.to_str()}",
            f"{'within' if self.within else 'OUT OF'} tolerance: relative differences up to {self.tolerance:g} allowed",
        ]
        if self.by_rounding:
            lines.append(
                "by rounding alone: given the IR's own quantized inputs, every layer of PyTorch's agrees with it"
            )
            if self.joint_ranges:
                lines.append(
                    f"{len(self.joint_ranges)} quantizers of NNCF's meet others of another range in a Concat; OpenVINO "
                    f"rounds them to the step of their joint range: {', '.join(self.joint_ranges)}"
                )
        elif self.first_layer is not None:
            lines.append(self.first_layer.to_str())
        elif not self.passed:
            lines.append(
                "No layer differs while the outputs of all are kept: the difference arises behind the last one, or "
                "where the plugin fuses layers whose outputs it need not keep"
            )
        return "\n".join(lines)

    @property
    def _worst(self) -> Loading:
        return max(self.loadings, key=lambda loading: loading.relative)


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
        nncf_slb.openvino.ir.IrError: If the IR is missing, truncated, not one of this package's or of another network.
        nncf_slb.errors.SettingError: If the tolerance is negative or not a number.
        nncf_slb.errors.DeviceError: If it does not compile.
        nncf_slb.errors.DataError: If the data does not fit it, or an output does not count samples along its first
            dimension.
        TypeError: If `model` is neither a controller nor a torch module.
    """
    if tolerance is not None and not tolerance >= 0:
        raise SettingError(f"tolerance: received {tolerance}; allowed is a number from 0 on")
    ir, info = read_own_ir(path)
    if len(ir.inputs) != len(info.call_form.names):
        raise IrError(
            f"{printable(path)}: its network has {len(ir.inputs)} inputs where {len(info.call_form.names)} were "
            "exported; export it again"
        )
    inputs = input_arrays(ir, data, path)
    quantizes = any(node.get_type_name() == "FakeQuantize" for node in ir.get_ops())
    if tolerance is None:
        tolerance = QUANTIZED_TOLERANCE if quantizes else EXACT_TOLERANCE
    settings = {"INFERENCE_PRECISION_HINT": "f32", **(properties or {})}
    stripped, _ = in_float32(stripped_network(model).eval(), ())
    names = [_name(port, index) for index, port in enumerate(ir.outputs)]
    run = _Run(stripped, Path(path), info, device, settings)
    results = [(way, *run.both(way, inputs)) for way in _ways(ir, info, len(inputs[0]))]
    compared = [
        (way, [_difference(*output, path) for output in zip(names, ours, reference, strict=True)])
        for way, ours, reference in results
    ]
    by_output = zip(*(differences for _, differences in compared), strict=True)
    outputs = tuple(_of_note(differences, tolerance) for differences in by_output)
    loadings = tuple(
        Loading(way.batch, way.fixed, max(d.relative for d in differences)) for way, differences in compared
    )
    cause = _Cause()
    if not all(output.relative <= tolerance for output in outputs):
        worst = max(range(len(loadings)), key=lambda index: loadings[index].relative)
        way, ours, reference = results[worst]
        with as_exported(path):
            cause = run.cause(way, inputs, ours, reference, tolerance)
    return Verification(
        str(path), device_name(device), len(inputs[0]), tolerance, outputs, loadings, cause.first_layer,
        cause.by_rounding, cause.joint_ranges,
    )  # fmt: skip


def _of_note(differences: tuple[OutputDifference, ...], tolerance: float) -> OutputDifference:
    """That of all samples, which comes first; where it is within the tolerance and another is not, the largest."""
    worst = max(differences, key=lambda difference: difference.relative)
    return worst if differences[0].relative <= tolerance < worst.relative else differences[0]


@dataclass(frozen=True)
class _Way:
    """How the file is loaded, and how many samples go through it."""

    batch: int
    fixed: bool
    samples: int


def _ways(ir: ov.Model, info: ExportInfo, samples: int) -> list[_Way]:
    """The file as it is, with all samples and with few of them in a batch of 1, of the example's size and of another;
    and with the batch fixed. A file of fixed sizes has one way."""
    shapes = [port.get_partial_shape() for port in ir.inputs]
    lengths = {int(shape[0].get_length()) for shape in shapes if len(shape) and shape[0].is_static}
    if lengths:
        return [_Way(max(lengths), False, samples)]
    batch = next(size for size in (min(_BATCH, samples), *_OTHERS) if size not in (1, info.batch))
    free = [_Way(batch, False, samples), _Way(1, False, min(_FEW, samples))]
    if 1 < info.batch <= _LARGEST_BATCH:
        free += [_Way(info.batch, False, min(max(_FEW, info.batch), samples))]
    if any(dimension.is_dynamic for shape in shapes for dimension in list(shape)[1:]):
        return free  # fixing the batch alone would say nothing of how such a file is used
    return free + [dataclasses.replace(way, fixed=True) for way in free[1:]]


@dataclass(frozen=True)
class _Cause:
    """Why outputs differ; fields as in `Verification`."""

    first_layer: LayerDifference | None = None
    by_rounding: bool = False
    joint_ranges: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Run:
    """A network and its file on a device."""

    stripped: nn.Module
    path: Path
    info: ExportInfo
    device: str
    settings: dict[str, Any]

    def load(self, way: _Way) -> ov.Model:
        ir, _ = read_own_ir(self.path)
        return with_batch(ir, way.batch, path=self.path) if way.fixed else ir

    def both(self, way: _Way, inputs: list[Array]) -> tuple[list[Array], list[Array]]:
        """Outputs of the IR and of PyTorch."""
        ir = self.load(way)
        compiled = compile_ir(ir, self.device, self.settings, self.path)
        reference: list[list[Array]] = []
        ours: list[list[Array]] = []
        for chunk, count in chunks([array[: way.samples] for array in inputs], way.batch):
            expected = run_torch(self.stripped, chunk, self.info.call_form)
            refuse_without_samples(expected, way.batch)
            with running(self.path, self.device):
                result = compiled(chunk)
            reference.append([array.detach().cpu().numpy()[:count] for array in expected])
            ours.append([result[index][:count].copy() for index in range(len(ir.outputs))])
        if len(reference[0]) != len(ours[0]):
            raise IrError(
                f"{printable(self.path)}: it has {len(ours[0])} outputs, the PyTorch model {len(reference[0])}: "
                "another network?"
            )
        return _joined(ours), _joined(reference)

    def cause(
        self, way: _Way, inputs: list[Array], ours: list[Array], reference: list[Array], tolerance: float
    ) -> _Cause:
        """What makes the outputs of one way to load the file differ."""
        comparisons = self.compare_layers(way, inputs, tolerance)
        first_layer = next((comparison.first for comparison in comparisons if comparison.first), None)
        by_rounding = all(comparison.by_rounding for comparison in comparisons) and (
            _are_those(comparisons, ours) or self.rounding_explains(way, inputs, ours, reference, comparisons)
        )
        joint_ranges = {name for comparison in comparisons for name in comparison.joint_steps}
        return _Cause(first_layer, by_rounding, tuple(sorted(joint_ranges)))

    def compare_layers(self, way: _Way, inputs: list[Array], tolerance: float) -> list[LayerComparison]:
        """Layer by layer, on each batch."""
        form = self.info.call_form
        return [
            compare_layers(self.stripped, self.load(way), chunk, form, tolerance, self.device, self.settings)
            for chunk, _ in chunks([array[: way.samples] for array in inputs], way.batch)
        ]

    def rounding_explains(
        self,
        way: _Way,
        inputs: list[Array],
        ours: list[Array],
        reference: list[Array],
        comparisons: list[LayerComparison],
    ) -> bool:
        """Whether PyTorch's outputs move about as far where the inputs of its quantizers are off by the last digits."""
        moved = [0.0] * len(reference)
        joint_steps = {name: step for comparison in comparisons for name, step in comparison.joint_steps.items()}
        for lowest, highest in NOISES:
            outputs: list[list[Array]] = []
            for chunk, count in chunks([array[: way.samples] for array in inputs], way.batch):
                with noisy_quantizers(self.stripped, lowest, highest, joint_steps):
                    run = run_torch(self.stripped, chunk, self.info.call_form)
                outputs.append([array.cpu().numpy()[:count] for array in run])
            for index, output in enumerate(_joined(outputs)):
                moved[index] = max(moved[index], float(np.abs(output - reference[index]).mean()))
        return moved_as_far(ours, reference, moved)


def _are_those(comparisons: list[LayerComparison], ours: list[Array]) -> bool:
    """Whether the outputs are those with which the layers were compared: keeping more outputs changes what is fused."""
    together = [np.concatenate(parts)[: len(ours[0])] for parts in zip(*(c.outputs for c in comparisons), strict=True)]
    return all(
        np.abs(kept - output).max() <= EXACT_TOLERANCE * np.abs(output).max()
        for kept, output in zip(together, ours, strict=True)
    )


def _joined(chunks: list[list[Array]]) -> list[Array]:
    return [np.concatenate(array) for array in zip(*chunks, strict=True)]


def _name(port: ov.Output, index: int) -> str:
    names = sorted(port.get_names())
    return names[0] if names else str(index)


def _difference(name: str, ours: Array, reference: Array, path: str | Path) -> OutputDifference:
    if ours.shape != reference.shape:
        raise IrError(
            f"{printable(path)}: its output {printable(name)} is {list(ours.shape)}, PyTorch's "
            f"{list(reference.shape)}: another network?"
        )
    return output_difference(name, ours, reference)
