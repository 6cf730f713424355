"""Where an IR and the PyTorch model that it was exported from part: both run with every layer's output at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch import Tensor, nn

from nncf_slb.openvino.graph import constant_names, following_chain, module_of, weighted_nodes
from nncf_slb.openvino.ir import compile_ir
from nncf_slb.openvino.sample_data import Array

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


def first_difference(
    stripped: nn.Module,
    ir: ov.Model,
    inputs: list[Array],
    tolerance: float,
    device: str,
    properties: dict[str, Any],
) -> LayerDifference | None:
    """First layer with weights whose output differs by more than `tolerance` times its largest value.

    Layers are compared behind the batch norm that the converter folded into them. Where it folded a layer's scale into
    a FakeQuantize behind it, outputs are compared but for a factor and a shift per channel.

    Args:
        stripped: Stripped torch model in eval mode.
        ir: Its IR; gets more outputs.
        inputs: One batch that both take.
        tolerance: Relative difference allowed.
        device: OpenVINO device to run on.
        properties: Properties to compile with.
    """
    checkpoints = list(_checkpoints(ir, dict(stripped.named_modules())))
    ir.add_outputs([checkpoint.output for checkpoint in checkpoints])  # none twice, so places have to be looked up
    places = {_source(port): index for index, port in enumerate(ir.outputs)}
    ir.reshape({port: list(array.shape) for port, array in zip(ir.inputs, inputs, strict=True)})
    result = compile_ir(ir, device, properties)(inputs)
    seen = _module_outputs(stripped, inputs, {checkpoint.module for checkpoint in checkpoints})
    for checkpoint in checkpoints:
        calls = seen[checkpoint.module]
        if checkpoint.call >= len(calls):
            continue
        ours, reference = result[places[checkpoint.output.get_node().get_friendly_name()]], calls[checkpoint.call]
        if ours.shape != reference.shape:
            continue
        apart, size = float(np.abs(ours - reference).max()), float(np.abs(reference).max())
        if apart > tolerance * size and checkpoint.folded:
            apart = float(np.abs(_fitted(ours, reference) - reference).max())
        if not apart <= tolerance * size:
            return LayerDifference(checkpoint.module, apart, size)
    return None


@torch.no_grad()
def run_torch(model: nn.Module, inputs: Sequence[Array]) -> Any:
    """Output of a torch model for arrays, on its device."""
    device = next((p.device for p in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    return model(*(torch.from_numpy(each).to(device) for each in inputs))


def _source(port: ov.Output) -> str:
    name: str = port.get_node().input_value(0).get_node().get_friendly_name()
    return name


def _checkpoints(ir: ov.Model, modules: dict[str, nn.Module]) -> Iterator[_Checkpoint]:
    calls: dict[str, int] = {}
    constants = constant_names(ir)
    for node in weighted_nodes(ir, constants):
        chain = following_chain(node, constants)
        names = [name for name in map(module_of, (each.get_friendly_name() for each in chain)) if name in modules]
        if not names:
            continue
        module = str(names[-1])
        targets = [target.get_node() for target in chain[-1].output(0).get_target_inputs()]
        folded = any(target.get_type_name() == "FakeQuantize" for target in targets)
        yield _Checkpoint(chain[-1].output(0), module, calls.get(module, 0), folded)
        calls[module] = calls.get(module, 0) + 1


def _module_outputs(model: nn.Module, inputs: list[Array], names: set[str]) -> dict[str, list[FloatArray]]:
    """Output of each call of the named modules."""
    seen: dict[str, list[FloatArray]] = {name: [] for name in names}

    def remember(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                seen[name].append(output.detach().cpu().numpy().copy())  # a later in-place operation may overwrite it

        return hook

    handles = [model.get_submodule(name).register_forward_hook(remember(name)) for name in names]
    try:
        run_torch(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen


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
