"""What an exported ONNX file holds and how ONNX Runtime runs it here, layer by layer."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncf_slb.onnx.reading import load_session, read_own_onnx, runtime_name
from nncf_slb.onnx.written_graph import WrittenGraph
from nncf_slb.openvino.layer_facts import LayerFacts, layer_table
from nncf_slb.search.values import WIDTHS

_FLOAT_BYTES = 4
_AFTER = {
    "BatchNormalization",
    "Relu",
    "Clip",
    "LeakyRelu",
    "Sigmoid",
    "Tanh",
    "HardSigmoid",
    "Add",
    "QuantizeLinear",
    "Max",
}
_INT8 = ("QLinear", "QGemm", "MatMulInteger", "MatMulNBits", "DynamicQuantize", "Qlinear")


@dataclass(frozen=True)
class OnnxInspection:
    """A whole ONNX file.

    Attributes:
        path: The file.
        runtime: ONNX Runtime with its version.
        opset: Version of the standard operators.
        file_bytes: Size of the file.
        float_bytes: Size that it would have with all weights in float32.
        layers: Layers with weights, in the order of the graph.
    """

    path: str
    runtime: str
    opset: int
    file_bytes: int
    float_bytes: int
    layers: tuple[LayerFacts, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return dataclasses.asdict(self)

    def to_str(self) -> str:
        """Table for the terminal."""
        return "\n".join(
            [
                f"{self.path}: opset {self.opset}, loaded by {self.runtime}",
                layer_table(self.layers),
                f"{self.file_bytes:,} bytes; with float32 weights {self.float_bytes:,}: "
                f"{self.float_bytes / self.file_bytes:.1f} times as many",
            ]
        )


def inspect_onnx(path: str | Path) -> OnnxInspection:
    """Load an exported ONNX file as ONNX Runtime does by default, on one thread of the CPU, and tell what runs.

    Args:
        path: ``.onnx`` file that `nncf_slb.export_openvino` wrote.

    Raises:
        nncf_slb.onnx.reading.OnnxError: If the file is missing, truncated or not one of this package's, or cannot be
            loaded; or if ONNX Runtime is not installed.
    """
    model, info = read_own_onnx(path)
    optimized = _optimized(path)
    searched = {layer.name: layer for layer in info.layers}
    file = WrittenGraph(model)
    layers = []
    saved = {}
    for node in file.weighted():
        held = file.constants_below(node.input[1])
        largest = file.largest(held)
        name = file.layer(node)
        own = searched.get(name)
        stored = "float32" if own is None else own.stored
        if own is None and file.kind(largest) == "int8":
            stored = "int8"
        count = math.prod(file.constants[largest].dims) if own is None else math.prod(own.shape)
        size = sum(file.bytes(constant) for constant in held) + sum(map(file.bytes, _further(node, file)))
        kernel = _kernel(node, file, optimized)
        saved[largest] = _FLOAT_BYTES * count - size
        layers.append(
            LayerFacts(
                name, node.op_type, own is not None and own.bits in WIDTHS, stored, count, size,
                8 * size / max(1, count), kernel, "int8" if kernel.startswith(_INT8) else "float32",
                None if own is None else own.bits,
            )
        )  # fmt: skip
    size = Path(path).stat().st_size
    opset = next(each.version for each in model.opset_import if each.domain == "")
    return OnnxInspection(str(path), runtime_name(), opset, size, size + sum(saved.values()), tuple(layers))


def _optimized(path: str | Path) -> list[Any]:
    """Nodes of the graph as ONNX Runtime has rewritten it."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "optimized.onnx"
        load_session(path, threads=1, written=written)
        return list(onnx.load(written).graph.node)


def _further(node: Any, file: WrittenGraph) -> Iterator[str]:
    """Scales that an operator takes as inputs of its own."""
    if node.op_type == "MatMulNBits":
        yield from (name for name in node.input[2:] if name in file.constants)


def _kernel(node: Any, file: WrittenGraph, optimized: list[Any]) -> str:
    """Operator that a layer has become; the runtime keeps the name of a node, or of the last tensor it fused."""
    if node.name:
        for other in optimized:
            rest = other.name.removeprefix(node.name) if other.name.startswith(node.name) else None
            if rest is not None and (not rest or rest.startswith(("_token", "/", "_nchwc"))):
                return str(other.op_type)
    tensors = list(_following(node, file))
    for tensor in tensors:
        for other in optimized:
            computes = other.op_type not in _AFTER and not other.op_type.startswith(
                ("Reorder", "Transpose", "Dequantize")
            )
            if other.name == f"{tensor}_nchwc" or (computes and tensor in other.output):
                return str(other.op_type)
    return "not told by the runtime"


def _following(node: Any, file: WrittenGraph) -> Iterator[str]:
    """Tensors behind a layer that may be fused into it."""
    name = node.output[0]
    while True:
        yield name
        readers = file.readers(name)
        if len(readers) != 1 or readers[0].op_type not in _AFTER:
            return
        name = readers[0].output[0]
