"""Where an ONNX file and the PyTorch model that it was exported from part: both run with every layer's output kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nncf_slb.onnx.reading import session_of
from nncf_slb.onnx.written_graph import WrittenGraph
from nncf_slb.openvino.call_form import CallForm
from nncf_slb.openvino.layer_comparison import LayerDifference, run_torch
from nncf_slb.openvino.same_side import injected, is_quantizer
from nncf_slb.openvino.sample_data import Array

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def first_difference(
    stripped: nn.Module, model: Any, inputs: Sequence[Array], form: CallForm, tolerance: float
) -> LayerDifference | None:
    """The first layer with weights whose output differs by more than `tolerance` times its largest value.

    The file runs as it is written, without the runtime's optimizations. Where activations are quantized, PyTorch's
    layers get the file's quantized inputs, so that flips of rounding cannot add up. Layers are compared with or without
    the bias that is added behind them, and the batch norm that export may have folded into them.

    Args:
        stripped: Stripped torch model in eval mode.
        model: The file's model; gets more outputs.
        inputs: One batch that both take.
        form: How the torch model takes them.
        tolerance: Relative difference allowed.

    Returns:
        None if no layer differs, or the runtime cannot run the file with these outputs.
    """
    graph = WrittenGraph(model)
    modules = dict(stripped.named_modules())
    named = [(graph.layer(node), list(_ends(graph, node))) for node in graph.weighted()]
    layers = [(name, ends) for name, ends in named if name in modules]
    quantized = [
        node.output[0]
        for node in graph.nodes
        if node.op_type == "DequantizeLinear" and not graph.constants_below(node.input[0])
    ]
    kept = list(dict.fromkeys([*(end for _, ends in layers for end in ends), *quantized]))
    read = _outputs(model, kept, inputs)
    if read is None:
        return None
    candidates = [read[name] for name in quantized]
    tensors = {name.rpartition("/")[2]: candidates for name, module in modules.items() if is_quantizer(module)}
    with injected(stripped, tensors, {}):
        seen = _module_outputs(stripped, {name for name, _ in layers}, inputs, form)
    calls: dict[str, int] = {}
    for name, ends in layers:
        call = calls.get(name, 0)
        calls[name] = call + 1
        if call < len(seen[name]):
            apart = [_apart(read[end], reference) for end in ends for reference in seen[name][call]]
            largest, size = min((each for each in apart if each is not None), default=(0.0, 0.0))
            if not largest <= tolerance * size:
                return LayerDifference(name, largest, size)
    return None


def _ends(graph: WrittenGraph, node: Any) -> Iterator[str]:
    """A layer's output, and that behind the bias that is added to it."""
    yield node.output[0]
    readers = graph.readers(node.output[0])
    if len(readers) == 1 and readers[0].op_type == "Add" and any(name in graph.constants for name in readers[0].input):
        yield readers[0].output[0]


def _outputs(model: Any, names: Sequence[str], inputs: Sequence[Array]) -> dict[str, Array] | None:
    from onnx import TensorProto, helper

    there = {port.name for port in model.graph.output}
    more = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in there]
    model.graph.output.extend(more)
    try:
        session = session_of(model.SerializeToString(), optimize=False)
        ports = [port.name for port in session.get_inputs()]
        return dict(zip(names, session.run(list(names), dict(zip(ports, inputs, strict=True))), strict=True))
    except Exception:  # onnxruntime's share no class of their own
        return None


def _module_outputs(
    model: nn.Module, names: set[str], inputs: Sequence[Array], form: CallForm
) -> dict[str, list[list[Array]]]:
    """For each call of the named modules: its output, and that of the batch norm that reads it."""
    seen: dict[str, list[list[Array]]] = {name: [] for name in names}
    last: dict[int, list[Array]] = {}  # what was seen of the output with this identity
    alive: list[Tensor] = []  # so that no other tensor gets it

    def remember(name: str | None, args: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if name is not None:  # a copy: a later in-place operation may overwrite it
            alive.append(output)
            last[id(output)] = [output.detach().cpu().numpy().copy()]
            seen[name].append(last[id(output)])
        elif args and id(args[0]) in last:
            last[id(args[0])].append(output.detach().cpu().numpy().copy())

    handles = [
        module.register_forward_hook(
            lambda _, args, output, known=name if name in names else None: remember(known, args, output)
        )
        for name, module in model.named_modules()
        if name in names or isinstance(module, _NORMS)
    ]
    try:
        with torch.no_grad():
            run_torch(model, inputs, form)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _apart(ours: Array, reference: Array) -> tuple[float, float] | None:
    """Largest difference and largest value; None for other shapes."""
    if ours.shape != reference.shape:
        return None
    return float(np.abs(ours.astype(np.float64) - reference).max()), float(np.abs(reference).max())
