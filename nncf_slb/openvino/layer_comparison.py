"""Where an IR and the PyTorch model that it was exported from part: both run with every layer's output at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch import Tensor, nn

from nncf_slb.errors import DeviceError
from nncf_slb.openvino.call_form import CallForm, flat_outputs
from nncf_slb.openvino.graph import MODULE_PREFIX, constant_names, following_chain, module_of, weighted_operations
from nncf_slb.openvino.ir import compile_ir
from nncf_slb.openvino.same_side import injected, quantizer_outputs
from nncf_slb.openvino.sample_data import Array

_LAYER_OPERATIONS = ("conv", "linear", "batch_norm")
# Largest relative difference of networks that round nothing.
EXACT = 1e-3
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LayerDifference:
    """How the output of one layer differs.

    Attributes:
        name: Path of the module in the torch model (a batch norm behind the layer, where that was folded into it).
        largest: Largest absolute difference.
        reference: Largest absolute value of PyTorch's output.
    """

    name: str
    largest: float
    reference: float

    def to_str(self) -> str:
        """One line for the terminal."""
        return (
            f"first layer out of tolerance: {self.name}, largest difference {self.largest:.3g} where values go up to "
            f"{self.reference:.3g}"
        )


@dataclass(frozen=True)
class _Checkpoint:
    """An output in the IR and the module that computes the same; folded: but for a factor and a shift per channel."""

    output: ov.Output
    module: str
    call: int
    folded: bool


@dataclass(frozen=True)
class LayerComparison:
    """What came of a comparison layer by layer.

    Attributes:
        first: First layer that differs; None if none does.
        by_rounding: Whether everything agrees where PyTorch computes from the IR's own quantized inputs, each of which
            is a rounding of PyTorch's; False where no activations are quantized.
        joint_steps: Quantizers that the plugin rounds to the step of a range that they have in common with others in
            front of a Concat, and that step.
        outputs: What the IR gave while the outputs of its layers were kept.
    """

    first: LayerDifference | None
    by_rounding: bool
    joint_steps: dict[str, float] = field(default_factory=dict)
    outputs: tuple[Array, ...] = ()


def compare_layers(
    stripped: nn.Module,
    ir: ov.Model,
    inputs: list[Array],
    form: CallForm,
    tolerance: float,
    device: str,
    properties: dict[str, Any],
) -> LayerComparison:
    """Find the first layer with weights whose output differs by more than `tolerance` times its largest value.

    Where activations are quantized, PyTorch's layers get the IR's quantized inputs (see `nncf_slb.openvino.same_side`).
    Layers are compared behind the batch norm that the converter folded into them. Where it folded a layer's scale into
    a FakeQuantize behind it, outputs are compared but for a factor and a shift per channel.

    Args:
        stripped: Stripped torch model in eval mode.
        ir: Its IR; gets more outputs.
        inputs: One batch that both take.
        form: How the torch model takes them.
        tolerance: Relative difference allowed.
        device: OpenVINO device to run on.
        properties: Properties to compile with.
    """
    count = len(ir.outputs)
    checkpoints = list(_checkpoints(ir, dict(stripped.named_modules())))
    quantizers = quantizer_outputs(ir)
    wanted = [checkpoint.output for checkpoint in checkpoints] + [quantizer.output for quantizer in quantizers]
    ir.add_outputs(wanted)  # none twice, so places have to be looked up
    places = {_source(port): index for index, port in enumerate(ir.outputs)}
    try:
        result = compile_ir(ir, device, properties)(inputs)
    except (DeviceError, RuntimeError):  # with so many outputs the plugin fuses differently, and may fail
        return LayerComparison(None, False)
    read = [result[index] for index in range(len(ir.outputs))]
    tensors: dict[str, list[Array]] = {}
    for quantizer in quantizers:
        tensors.setdefault(quantizer.module, []).append(quantizer.values(read[places[_key(quantizer.output)]]))
    joint_steps = {quantizer.module: quantizer.joint_step for quantizer in quantizers if quantizer.joint_step}
    with injected(stripped, tensors, joint_steps) as injection:
        seen, outputs = _module_outputs(stripped, inputs, form, {checkpoint.module for checkpoint in checkpoints})
    pairs = [
        (checkpoint, read[places[_key(checkpoint.output)]], seen[checkpoint.module][checkpoint.call])
        for checkpoint in checkpoints
        if checkpoint.call < len(seen[checkpoint.module])
    ]
    same = all(
        ours.shape == reference.shape and _apart(ours, reference) <= EXACT * max(float(np.abs(reference).max()), 1e-12)
        for ours, reference in zip(read[:count], outputs, strict=True)
    )
    if same and injection.used and not injection.wrong:
        return LayerComparison(None, True, joint_steps, tuple(read[:count]))
    # A factor behind a layer may have become part of it, so what differs in more than that is named first.
    for fitted in (True, False):
        for checkpoint, ours, reference in pairs:
            difference = _layer_difference(checkpoint.module, ours, reference, tolerance, fitted or checkpoint.folded)
            if difference is not None:
                return LayerComparison(difference, False)
    return LayerComparison(None, False)


def _layer_difference(
    module: str, ours: FloatArray, reference: FloatArray, tolerance: float, fitted: bool
) -> LayerDifference | None:
    if ours.shape != reference.shape:
        return None
    apart, size = _apart(ours, reference), float(np.abs(reference).max())
    if apart > tolerance * size and fitted:
        apart = _apart(_fitted(ours, reference), reference)
    return None if apart <= tolerance * size else LayerDifference(module, apart, size)


def _apart(ours: FloatArray, reference: FloatArray) -> float:
    return float(np.abs(ours - reference).max())


@torch.no_grad()
def run_torch(model: nn.Module, inputs: Sequence[Array], form: CallForm) -> list[Tensor]:
    """Output tensors of a torch model for arrays, on its device, in the order of the IR's."""
    device = next((p.device for p in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    args, kwargs = form.arguments([torch.from_numpy(array).to(device) for array in inputs])
    return list(flat_outputs(model(*args, **kwargs)).values())


def _source(port: ov.Output) -> str:
    return _key(port.get_node().input_value(0))


def _key(output: ov.Output) -> str:
    return f"{output.get_node().get_friendly_name()}:{output.get_index()}"


def _checkpoints(ir: ov.Model, modules: dict[str, nn.Module]) -> Iterator[_Checkpoint]:
    calls: dict[str, int] = {}
    constants = constant_names(ir)
    for node in weighted_operations(ir, constants):
        chain = following_chain(node, constants)
        names = [
            name for name in map(module_of, (follower.get_friendly_name() for follower in chain)) if name in modules
        ]
        if not names:
            continue
        module = str(names[-1])
        targets = [target.get_node() for target in chain[-1].output(0).get_target_inputs()]
        quantizers = [target.get_friendly_name() for target in targets if target.get_type_name() == "FakeQuantize"]
        if not any(_is_output_hook(name) for name in quantizers):  # there PyTorch's module gives quantized outputs
            yield _Checkpoint(chain[-1].output(0), module, calls.get(module, 0), bool(quantizers))
        calls[module] = calls.get(module, 0) + 1


def _is_output_hook(name: str) -> bool:
    """Whether a quantizer is one that NNCF puts behind the operation of a layer, within its module."""
    operation, hook, _ = name.removeprefix(MODULE_PREFIX).rpartition("/aten::")[0].rpartition("|OUTPUT")
    return bool(hook) and operation.rpartition("/")[2].startswith(_LAYER_OPERATIONS)


def _module_outputs(
    model: nn.Module, inputs: list[Array], form: CallForm, names: set[str]
) -> tuple[dict[str, list[FloatArray]], list[FloatArray]]:
    """Output of each call of the named modules, and outputs of the model."""
    seen: dict[str, list[FloatArray]] = {name: [] for name in names}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):  # a copy: a later in-place operation may overwrite it
                seen[name].append(output.detach().cpu().numpy().copy())

        return hook

    handles = [model.get_submodule(name).register_forward_hook(remember(name)) for name in names]
    try:
        outputs = [tensor.cpu().numpy() for tensor in run_torch(model, inputs, form)]
    finally:
        for handle in handles:
            handle.remove()
    return seen, outputs


def _fitted(ours: FloatArray, reference: FloatArray) -> FloatArray:
    """`ours` with the factor and the shift per channel (dimension 1) that bring it nearest to the reference."""
    rows = np.moveaxis(ours, 1, 0).reshape(ours.shape[1], -1).astype(np.float64)
    wanted = np.moveaxis(reference, 1, 0).reshape(ours.shape[1], -1).astype(np.float64)
    centred, target = rows - rows.mean(1, keepdims=True), wanted - wanted.mean(1, keepdims=True)
    factor = (centred * target).sum(1) / np.maximum(np.square(centred).sum(1), 1e-30)
    shape = [1, -1] + [1] * (ours.ndim - 2)
    shift = wanted.mean(1) - factor * rows.mean(1)
    fitted: FloatArray = (ours * factor.reshape(shape) + shift.reshape(shape)).astype(np.float32)
    return fitted
