"""An ONNX graph while it is rewritten: who makes a tensor, who reads it, constants, new names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper

Array = npt.NDArray[Any]
DOMAIN = "nncf_slb"  # of the operators that stand in a graph until they are lowered
FAKE_QUANTIZE, FAKE_QUANTIZE_CHANNELS = "FakeQuantize", "FakeQuantizePerChannel"


class Graph:
    """Nodes and constants of a model; `model` puts them back in order.

    Args:
        model: Model to rewrite, which is used up.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.constants: dict[str, Array] = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        self._native: dict[str, onnx.TensorProto] = {}
        self.outputs = {port.name for port in model.graph.output}
        self._taken = {name for node in self.nodes for name in (*node.input, *node.output)} | set(self.constants)
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            elif (
                node.op_type == "Cast" and getattr(self.constants.get(node.input[0]), "size", 0) == 1
            ):  # a clamp's bound
                kind = helper.tensor_dtype_to_np_dtype(attribute(node, "to"))
                self.constants[node.output[0]] = self.constants[node.input[0]].astype(kind)
        self.nodes = [node for node in self.nodes if node.output[0] not in self.constants]
        for node in [node for node in self.nodes if node.op_type == "Identity" and node.input[0] in self.constants]:
            self.remove(node)  # how the exporter shares constants
            self.replace(node.output[0], node.input[0])

    def producer(self, name: str) -> NodeProto | None:
        """The node that makes a tensor; None for inputs and constants."""
        return next((node for node in self.nodes if name in node.output), None)

    def consumers(self, name: str) -> list[NodeProto]:
        """Nodes that read a tensor."""
        return [node for node in self.nodes if name in node.input]

    def only_reader(self, name: str) -> NodeProto | None:
        """The one node that reads a tensor; None where there are others, or where it is an output of the graph."""
        readers = self.consumers(name)
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def constant(self, name: str, value: Any) -> str:
        """Hold a constant; one of that name and value is used again. Gives its name."""
        array = np.asarray(value)
        held = self.constants.get(name)
        if held is not None and held.dtype == array.dtype and np.array_equal(held, array):
            return name
        name = self.new_name(name)
        self.constants[name] = array
        return name

    def native(self, name: str, tensor: onnx.TensorProto) -> str:
        """Hold a constant of a type that NumPy lacks."""
        name = self.new_name(name)
        tensor.name = name
        self._native[name] = tensor
        return name

    def new_name(self, wanted: str) -> str:
        """A name that no other tensor has."""
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}.{count}"
        self._taken.add(name)
        return name

    def add(self, kind: str, inputs: Sequence[str], name: str, domain: str = "", **attributes: Any) -> str:
        """Add a node of one output; gives the name of that."""
        output = self.new_name(name)
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def replace(self, old: str, new: str) -> None:
        """Give the readers of a tensor another one, which takes over its place as an output of the graph."""
        for node in self.nodes:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new
        if old in self.outputs:
            self.nodes.append(helper.make_node("Identity", [new], [old], name=f"{old}/identity"))

    def remove(self, *nodes: NodeProto) -> None:
        """Take nodes out."""
        gone = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) not in gone]

    def model(self) -> onnx.ModelProto:
        """The model with the nodes that its outputs need, in an order in which they can run."""
        needed = self._needed()
        del self._model.graph.node[:], self._model.graph.initializer[:], self._model.graph.value_info[:]
        self._model.graph.node.extend(needed)
        used = {name for node in needed for name in _read(node)} | self.outputs
        held = [numpy_helper.from_array(value, name) for name, value in self.constants.items() if name in used]
        held += [tensor for name, tensor in self._native.items() if name in used]
        self._model.graph.initializer.extend(held)
        return self._model

    def _needed(self) -> list[NodeProto]:
        """Nodes that an output depends on, each behind those that it reads."""
        makers = {name: node for node in self.nodes for name in node.output}
        done: dict[int, NodeProto] = {}
        waiting = [(makers[name], False) for name in sorted(self.outputs) if name in makers]
        while waiting:
            node, read = waiting.pop()
            if id(node) in done:
                continue
            if read:
                done[id(node)] = node
                continue
            waiting.append((node, True))
            waiting += [(makers[name], False) for name in reversed(list(_read(node))) if name in makers]
        return list(done.values())


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Value of a node's attribute."""
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _read(node: NodeProto) -> Iterator[str]:
    """Tensors that a node reads, those that its branches take from outside included."""
    yield from node.input
    for each in node.attribute:
        for branch in [each.g] if each.HasField("g") else list(each.graphs):
            for inner in branch.node:
                yield from _read(inner)
            yield from (port.name for port in branch.output)


# Operators that hand on the numbers of their first input, in another place, shape or fewer of them.
KEEP_NUMBERS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MaxPool", "GlobalMaxPool"}
CLAMPS = {"Relu", "Clip"}


def is_quantizer(node: NodeProto | None) -> bool:
    """Whether a node is a quantizer of activations that is not lowered yet."""
    return node is not None and node.domain == DOMAIN and node.op_type == FAKE_QUANTIZE
