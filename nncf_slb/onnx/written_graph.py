"""The graph of an exported ONNX file as a reader finds it: layers with weights, and what their weights consist of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul", "MatMulNBits"}
_SUFFIXES = ("/weight", ".packed", ".weight")


class WrittenGraph:
    """Nodes and constants of a file."""

    def __init__(self, model: Any) -> None:
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}

    def weighted(self) -> Iterator[Any]:
        """Layers whose weight is computed from constants."""
        for node in self.nodes:
            if node.op_type in _WEIGHTED and len(node.input) > 1 and self.constants_below(node.input[1]):
                yield node

    def constants_below(self, name: str) -> set[str]:
        """Constants that a tensor is computed from; none if it depends on anything else."""
        if name in self.constants:
            return {name}
        node = self.makers.get(name)
        below = [self.constants_below(each) for each in node.input if each] if node is not None else []
        return set().union(*below) if below and all(below) else set()

    def above(self, name: str) -> Iterator[str]:
        """A tensor, and what it is computed from along first inputs."""
        while name:
            yield name
            node = self.makers.get(name)
            name = node.input[0] if node is not None and node.input else ""

    def readers(self, name: str) -> list[Any]:
        """Nodes that read a tensor."""
        return [node for node in self.nodes if name in node.input]

    def bytes(self, name: str) -> int:
        """Bytes of a constant."""
        tensor = self.constants[name]
        return len(tensor.raw_data) or int(tensor.ByteSize())

    def kind(self, name: str) -> str:
        """Type of a constant."""
        from onnx import TensorProto

        return str(TensorProto.DataType.Name(self.constants[name].data_type)).lower()

    def largest(self, names: Iterable[str]) -> str:
        """The constant of most numbers; a table of values has one dimension, and may be larger than a small weight."""
        dims = {name: self.constants[name].dims for name in names}
        return max(dims, key=lambda name: (len(dims[name]) > 1, math.prod(dims[name])))

    def layer(self, node: Any) -> str:
        """Path of a layer in the torch model, else the name of its largest constant."""
        names = self.above(node.input[1])
        found = (name.removesuffix(end) for name in names for end in _SUFFIXES if name.endswith(end))
        return next(found, self.largest(self.constants_below(node.input[1])))
