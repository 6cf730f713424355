"""Codes in the file at their own width, and the operators that make numbers of them when a runtime loads it.

Planes: bit ``k`` of each code, eight codes to a byte, taken apart by BitShift and BitwiseAnd, joined by BitwiseOr.
Native: UINT2 (opset 25) or UINT4 (opset 21) through Cast; DequantizeLinear of these is refused beside quantized inputs
(measured with ONNX Runtime 1.32). Two forms follow:

- ``integer``: Gather from an int8 table, DequantizeLinear with a scale for each channel. What quantized inputs meet.
- ``float``: Gather from a float table, Mul. All of it folds when the file is loaded; the former's DequantizeLinear
  would run with every inference (a Linear of 4096 x 4096: 40 ms beside 12).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto, numpy_helper

from nncf_slb.config.devices import OnnxTypes
from nncf_slb.onnx.graph import Array, Graph
from nncf_slb.search.bit_planes import to_planes
from nncf_slb.search.eight_bits import EIGHT_BITS
from nncf_slb.search.values import LARGEST_WITHOUT_SATURATION

Codes = npt.NDArray[np.uint8]
NATIVE_OPSETS = {2: 25, 4: 21}


@dataclass(frozen=True)
class CodedArray:
    """Codes of one weight in the shape in which the graph uses them.

    Attributes:
        name: What names of constants begin with.
        codes: uint8.
        table: int8 or float32 ``[len(values)]``.
        bits: Bits of one code, 1-4 or 8.
    """

    name: str
    codes: Codes
    table: Array
    bits: int

    @property
    def is_integer(self) -> bool:
        """Whether int8 kernels can run its values."""
        return self.table.dtype == np.int8

    def transposed(self) -> CodedArray:
        """The codes of the transposed matrix."""
        return CodedArray(f"{self.name}.T", np.ascontiguousarray(self.codes.T), self.table, self.bits)


def table_factor(table: Array) -> int:
    """What int8 values are multiplied by, and scales divided: a power of two, so that no scale is rounded.

    They stay in the range in which no processor saturates. The finer the weight's step, the finer that of a bias in
    int8 kernels.
    """
    return int(2 ** max(0, int(math.log2(LARGEST_WITHOUT_SATURATION / np.abs(table.astype(np.int32)).max()))))


class WeightWriter:
    """Puts weights into a graph; what two of them share is held once.

    Args:
        graph: Graph to write to.
        types: ``planes`` or ``native``.
        opset: Version of the standard operators.
    """

    def __init__(self, graph: Graph, types: OnnxTypes, opset: int) -> None:
        self._graph, self._types, self._opset = graph, types, opset
        self._done: dict[tuple[str, str], str] = {}

    def stored(self, bits: int) -> str:
        """Element type of codes in the file, as `inspect` names it."""
        if bits == EIGHT_BITS:
            return "int8"
        return f"planes {bits}" if self._types == "planes" else f"uint{self._native_bits(bits)}"

    def integer(self, weight: CodedArray, scale: Array, axis: int, layer: str, zero_points: bool = False) -> str:
        """The weight as ``DequantizeLinear(int8)``.

        Args:
            weight: Codes with an int8 table.
            scale: float32 ``[channels]``.
            axis: Dimension of the channels.
            layer: Path of the layer, which begins the tensor's name.
            zero_points: Write the zero points, which are zero: without them there is no QGemm (ONNX Runtime 1.32).

        Returns:
            Name of the tensor.
        """
        factor = 1 if weight.bits == EIGHT_BITS else table_factor(weight.table)
        key = "integer", weight.name
        if key not in self._done:
            if weight.bits == EIGHT_BITS:
                self._done[key] = self._graph.constant(f"{weight.name}.int8", weight.table[weight.codes])
            else:
                table = self._graph.constant(f"{weight.name}.values", (weight.table * factor).astype(np.int8))
                self._done[key] = self._graph.add("Gather", [table, self._indices(weight)], f"{weight.name}/int8")
        steps = self._graph.constant(f"{weight.name}.scale", (scale / np.float32(factor)).astype(np.float32))
        inputs = [self._done[key], steps]
        if zero_points:
            inputs.append(self._graph.constant(f"zeros.{len(scale)}", np.zeros(len(scale), np.int8)))
        return self._graph.add("DequantizeLinear", inputs, f"{layer}/weight", axis=axis)

    def floating(self, weight: CodedArray, scale: Array, layer: str) -> str:
        """The weight as ``table[codes] * scale``, of any scale that broadcasts."""
        if weight.bits == EIGHT_BITS:
            integers = self._graph.constant(f"{weight.name}.int8", weight.table[weight.codes])
            numbers = self._graph.add("Cast", [integers], f"{weight.name}/numbers", to=TensorProto.FLOAT)
        else:
            table = self._graph.constant(f"{weight.name}.values", weight.table.astype(np.float32))
            numbers = self._graph.add("Gather", [table, self._indices(weight)], f"{weight.name}/numbers")
        steps = self._graph.constant(f"{weight.name}.scale", scale.astype(np.float32))
        return self._graph.add("Mul", [numbers, steps], f"{layer}/weight")

    def _native_bits(self, bits: int) -> int:
        return 2 if bits <= 2 and self._opset >= NATIVE_OPSETS[2] else 4

    def _indices(self, weight: CodedArray) -> str:
        """The codes as int32."""
        key = "indices", weight.name
        if key not in self._done:
            codes = self._planes(weight) if self._types == "planes" else self._native(weight)
            self._done[key] = self._graph.add("Cast", [codes], f"{weight.name}/indices", to=TensorProto.INT32)
        return self._done[key]

    def _native(self, weight: CodedArray) -> str:
        kind = ml_dtypes.uint2 if self._native_bits(weight.bits) == 2 else ml_dtypes.uint4
        name = f"{weight.name}.codes"
        return self._graph.native(name, numpy_helper.from_array(weight.codes.astype(kind), name))

    def _planes(self, weight: CodedArray) -> str:
        graph, joined = self._graph, ""
        places = graph.constant("places", np.arange(7, -1, -1, dtype=np.uint8)[None])
        masks = graph.constant("masks", np.uint8(1) << np.arange(7, -1, -1, dtype=np.uint8)[None])
        for bit, plane in enumerate(to_planes(torch.tensor(weight.codes), weight.bits).numpy()):
            name = f"{weight.name}/bit{bit}"
            # Masked first: where OpenVINO shifts as it runs, it divides and rounds.
            masked = graph.add("BitwiseAnd", [graph.constant(f"{weight.name}.plane{bit}", plane[:, None]), masks],
                               f"{name}/masked")  # fmt: skip
            taken = graph.add("BitShift", [masked, places], f"{name}/taken", direction="RIGHT")
            if bit:
                place = graph.constant(f"bit.{bit}", np.uint8(bit))
                taken = graph.add("BitShift", [taken, place], f"{name}/placed", direction="LEFT")
                taken = graph.add("BitwiseOr", [joined, taken], f"{name}/joined")
            joined = taken
        if weight.codes.size % 8:
            flat = graph.add("Reshape", [joined, graph.constant("flat", np.array([-1]))], f"{weight.name}/flat")
            ends = (
                graph.constant("begin", np.array([0])),
                graph.constant(f"{weight.name}.count", np.array([weight.codes.size])),
            )
            joined = graph.add("Slice", [flat, *ends], f"{weight.name}/counted")
        shape = graph.constant(f"{weight.name}.shape", np.array(weight.codes.shape))
        return graph.add("Reshape", [joined, shape], f"{weight.name}/codes")
