"""PyTorch's network computed from the IR's own quantized inputs, so that rounding cannot pile up between the two.

Kernels round in places of their own: a quantized input on the boundary of two levels can fall on either side, and
everything behind it differs. Here each quantizer of the PyTorch network hands on what the IR's quantizer gave, after a
check that this is a rounding of PyTorch's own number; what still differs then is no matter of rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import openvino as ov
import torch
from torch import Tensor, nn

from nncf_slb.openvino.graph import INT8_SUFFIX, MODULE_PREFIX, QUANTIZER_OPERATION
from nncf_slb.openvino.sample_data import Array
from nncf_slb.search.runtime import FixedActivation

_STEP_SLACK, _RANGE_SLACK = 0.02, 1e-4
_NOISE = 1e-5
_MOVING = {
    "Concat", "Reshape", "Transpose", "Split", "VariadicSplit", "Squeeze", "Unsqueeze", "StridedSlice", "Slice", "Pad",
    "MaxPool", "AvgPool", "ReduceMax", "ReduceMin", "ReduceMean", "Relu", "Clamp", "Interpolate", "ShuffleChannels",
    "DepthToSpace", "SpaceToDepth", "BatchToSpace", "SpaceToBatch", "Gather", "Broadcast", "Tile",
}  # fmt: skip


@dataclass(frozen=True)
class QuantizerOutput:
    """A quantizer of inputs in an IR.

    Attributes:
        module: Path of the quantizer in the torch model, of a path with slashes (NNCF's) the last part.
        output: What to read in the IR: the quantized tensor, or the one before it where the quantized one is binary.
        threshold: For those, the number above which the sign is 1, float32, broadcastable; else None.
        joint_step: Where it meets quantizers of other ranges in a Concat, the step of their joint range; else 0. The
            plugin rounds to that step there (OpenVINO's low precision transformations, AlignQuantizationIntervals).
    """

    module: str
    output: ov.Output
    threshold: Array | None
    joint_step: float = 0.0

    def values(self, read: Array) -> Array:
        """Quantized tensor from what was read."""
        if self.threshold is None:
            return read
        return np.where(read > self.threshold, np.float32(1), np.float32(-1))


def quantizer_outputs(ir: ov.Model) -> list[QuantizerOutput]:
    """Quantizers of inputs in an IR of this package, in an order in which they run."""
    outputs: dict[str, QuantizerOutput] = {}
    joint_steps = _joint_steps(ir)
    for node in ir.get_ordered_ops():
        name = node.get_friendly_name()
        path, operation, _ = name.partition(QUANTIZER_OPERATION)
        if not operation:
            continue
        module = _last_part(path.removeprefix(MODULE_PREFIX))
        if name.endswith("/bits"):  # an output of a binary tensor crashes the plugin (OpenVINO 2026.4.1)
            source = node.input_value(0)
            threshold = node.input_value(1).get_node().data.astype(np.float32)
            outputs.setdefault(name.removesuffix("/bits"), QuantizerOutput(module, source, threshold))
        else:
            # A transposition that the converter moved behind the quantizer has its name; and of a sign and the identity
            # quantization to 256 levels behind it, the last one counts.
            stem = name.removesuffix(INT8_SUFFIX).removesuffix("/sign")
            outputs[stem] = QuantizerOutput(module, node.output(0), None, joint_steps.get(name, 0.0))
    return list(outputs.values())


def _joint_steps(ir: ov.Model) -> dict[str, float]:
    """For each quantizer per tensor that meets one of another range in a Concat: the step of their joint range."""
    steps: dict[str, float] = {}
    for concat in ir.get_ops():
        if concat.get_type_name() != "Concat":
            continue
        ranges = {node.get_friendly_name(): _range(node) for node in _quantizers_before(concat)}
        if len(set(ranges.values())) > 1:
            lowest, highest = min(r[0] for r in ranges.values()), max(r[1] for r in ranges.values())
            levels = min(r[2] for r in ranges.values())
            for name in ranges:
                steps[name] = max(steps.get(name, 0.0), (highest - lowest) / (levels - 1))
    return steps


def _quantizers_before(concat: ov.Node) -> Iterator[ov.Node]:
    """Quantizers per tensor that an operation reaches backwards through operations that only move numbers."""
    pending, seen = [value.get_node() for value in concat.input_values()], set()
    while pending:
        node = pending.pop()
        if node.get_friendly_name() in seen:
            continue
        seen.add(node.get_friendly_name())
        if node.get_type_name() == "FakeQuantize":
            if all(math.prod(node.input(index).get_shape()) == 1 for index in range(1, 5)):
                yield node
        elif node.get_type_name() in _MOVING:
            pending += [value.get_node() for value in node.input_values()]


def _range(quantizer: ov.Node) -> tuple[float, float, int]:
    """Lowest and highest value, and levels."""
    low, high = (float(quantizer.input_value(i).get_node().data.reshape(-1)[0]) for i in (3, 4))
    return low, high, int(quantizer.get_attributes()["levels"])


def _last_part(path: str) -> str:
    """What the converter keeps of a path with slashes."""
    return path.rpartition("/")[2]


@dataclass
class Injection:
    """What came of a pass with the IR's quantized inputs.

    Attributes:
        wrong: For each quantizer whose numbers in the IR are no roundings of PyTorch's: path, and how many.
        used: Quantizers of the torch model that took the IR's numbers; others, on which no output depends, may find
            none.
    """

    wrong: dict[str, int] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


@contextmanager
def injected(
    stripped: nn.Module, tensors: dict[str, list[Array]], joint_steps: dict[str, float]
) -> Iterator[Injection]:
    """Within it, quantizers of the torch model give the IR's numbers.

    Args:
        stripped: Stripped model in eval mode.
        tensors: Quantized tensors of the IR by the path of the quantizer, one for each of its calls.
        joint_steps: For quantizers that the plugin rounds to the step of a joint range, that step by their path.
    """
    result = Injection()
    paths: dict[int, list[str]] = {}
    quantizers: dict[int, nn.Module] = {}
    for path, module in stripped.named_modules(remove_duplicate=False):
        if is_quantizer(module):
            paths.setdefault(id(module), []).append(path)
            quantizers[id(module)] = module

    def replace(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        names = paths[id(module)]
        candidates = [
            torch.from_numpy(array).to(output) for name in names for array in tensors.get(_last_part(name), [])
        ]
        candidates = [candidate for candidate in candidates if candidate.shape == output.shape]
        if not candidates:
            return output
        nearest = min(candidates, key=lambda candidate: float((candidate - output).abs().mean()))
        joint_step = max(joint_steps.get(_last_part(name), 0.0) for name in names)
        wrong = int(_no_rounding(module, args[0], output, nearest, joint_step).sum())
        if wrong:
            result.wrong[names[0]] = result.wrong.get(names[0], 0) + wrong
        result.used.add(names[0])
        return nearest

    handles = [module.register_forward_hook(replace) for module in quantizers.values()]
    try:
        yield result
    finally:
        for handle in handles:
            handle.remove()


def is_quantizer(module: nn.Module) -> bool:
    """Whether a module of a stripped network quantizes an activation: ours, or NNCF's, which strips to torch's."""
    return isinstance(module, FixedActivation | torch.ao.quantization.FakeQuantize)


def _no_rounding(module: Any, x: Tensor, output: Tensor, other: Tensor, joint_step: float) -> Tensor:
    """Where `other` can't have come out of `x`: off by more than a level, or by one with `x` not on the boundary."""
    step = module.scale.max() if hasattr(module, "scale") else module.step
    step = output.new_tensor(2.0) if step is None else step
    differ = (other - output).abs() > _STEP_SLACK * step
    if joint_step:  # half a step of its own, half a joint step for the level, half a one for the range's ends
        return differ & ((other - output).abs() > step / 2 + (1 + _STEP_SLACK) * joint_step)
    boundary = 0.0 if module_is_sign(module) else (other + output) / 2
    slack = _RANGE_SLACK * x.abs().max() + (0.0 if module_is_sign(module) else _STEP_SLACK * step)
    return differ & (((other - output).abs() > (1 + _STEP_SLACK) * step) | ((x - boundary).abs() > slack))


def module_is_sign(module: nn.Module) -> bool:
    """Whether a quantizer takes the sign."""
    return isinstance(module, FixedActivation) and module.bits == 1


@contextmanager
def noisy_quantizers(
    stripped: nn.Module, lowest: float, highest: float, joint_steps: dict[str, float]
) -> Iterator[None]:
    """Within it, what each quantizer of inputs gets is off by the last digits: some numbers fall on the other side, as
    in kernels that sum up in another order.

    Args:
        stripped: Stripped model.
        lowest: Least error, in units of 1e-5 of the largest number of a tensor.
        highest: Largest one.
        joint_steps: For quantizers that the plugin rounds to the step of a joint range, that step by their path; what
            they get is off by half of it.
    """
    generator = torch.Generator().manual_seed(0)

    def disturb(joint_step: float, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0]
        noise = torch.rand(x.shape, generator=generator).to(x).mul_(highest - lowest).add_(lowest)
        return (x + noise * torch.clamp(_NOISE * x.abs().max(), min=joint_step / 2), *args[1:])

    handles: dict[int, Any] = {}
    for path, module in stripped.named_modules():
        if is_quantizer(module):
            disturb_by = partial(disturb, joint_steps.get(_last_part(path), 0.0))
            handles[id(module)] = module.register_forward_pre_hook(lambda _, args, by=disturb_by: by(args))
    try:
        yield
    finally:
        for handle in handles.values():
            handle.remove()


# Passes that show what rounding does to a network. In integers, sums that are zero are exactly so, and all of them fall
# on one side: hence the passes in which all errors have one sign.
NOISES = ((-1.0, 1.0), (-1.0, 0.0), (0.0, 1.0))
