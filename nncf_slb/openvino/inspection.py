"""What an exported IR holds and how this machine runs it, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov

from nncf_slb.errors import printable
from nncf_slb.openvino.graph import (
    SCALE_SUFFIX,
    constant_names,
    constants_below,
    following_chain,
    is_quantized,
    module_of,
    weighted_operations,
)
from nncf_slb.openvino.ir import as_exported, bin_bytes, compile_ir, device_name, read_own_ir, with_batch
from nncf_slb.openvino.layer_facts import LayerFacts, layer_table
from nncf_slb.openvino.lowering import LoweredLayer
from nncf_slb.openvino.metadata import DYNAMIC_QUANTIZATION_OFF
from nncf_slb.search.values import WIDTHS

_FLOAT_BYTES = 4
# Layer types of the CPU plugin that compute with weights; a Subgraph does where the batch is tiny.
_COMPUTING = {"Convolution", "BinaryConvolution", "Deconvolution", "FullyConnected", "MatMul", "Subgraph"}


@dataclass(frozen=True)
class LayerInspection(LayerFacts):
    """One layer with weights, and what the plugin makes of it.

    Attributes:
        quantized_inputs: Whether its inputs are rounded in front of it.
        zero_channels: Output channels whose searched weights are all zero.
    """

    quantized_inputs: bool
    zero_channels: int


@dataclass(frozen=True)
class Port:
    """An input or an output of the file.

    Attributes:
        name: Its name in the file; its index where it has none.
        shape: Lengths of its dimensions; -1 for any.
        type: Element type, such as ``f32``.
    """

    name: str
    shape: tuple[int, ...]
    type: str

    def to_str(self) -> str:
        """For the terminal: ``x [any,3,224,224] f32``."""
        lengths = ",".join("any" if length < 0 else str(length) for length in self.shape)
        return f"{printable(self.name)} [{lengths}] {self.type}"


@dataclass(frozen=True)
class Inspection:
    """A whole IR.

    Attributes:
        path: The ``.xml`` file.
        device: Processor or accelerator that the kernels are of.
        target_device: Device that it was exported for.
        bin_bytes: Size of the ``.bin`` file.
        float_bytes: Size that it would have with all weights in float32.
        dynamic_quantization: Whether the file lets the CPU round 32-bit inputs to 8 bits as it runs.
        layers: Layers with weights, in the order in which they run.
        inputs: What the file takes.
        outputs: What it gives.
    """

    path: str
    device: str
    target_device: str
    bin_bytes: int
    float_bytes: int
    dynamic_quantization: bool
    layers: tuple[LayerInspection, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return dataclasses.asdict(self)

    def to_str(self) -> str:
        """Table for the terminal."""
        return "\n".join(
            [
                f"{printable(self.path)}: exported for {printable(self.target_device)}, compiled on {self.device}",
                f"takes {', '.join(port.to_str() for port in self.inputs)}; "
                f"gives {', '.join(port.to_str() for port in self.outputs)}",
                layer_table(self.layers),
                f".bin {self.bin_bytes:,} bytes; with float32 weights {self.float_bytes:,}: "
                f"{self.float_bytes / max(1, self.bin_bytes):.1f} times as many",
                f"dynamic quantization of 32-bit inputs: {'on' if self.dynamic_quantization else 'off'}",
            ]
        )


def inspect_openvino(
    path: str | Path,
    device: str = "CPU",
    properties: dict[str, Any] | None = None,
    shape: Sequence[int] | None = None,
) -> Inspection:
    """Compile an exported IR with the device's default settings, for a batch of 1 where it is free, and tell what runs.

    Args:
        path: ``.xml`` file that `nncf_slb.export_openvino` wrote.
        device: OpenVINO device to compile for.
        properties: Properties to compile with.
        shape: Shape of the input to compile for, where more than the batch is free.

    Raises:
        nncf_slb.openvino.ir.IrError: If the file is missing, damaged or not one of this package's.
        nncf_slb.errors.SettingError: If it needs a shape, or does not take that one.
        nncf_slb.errors.DeviceError: If it does not compile.
    """
    model, info = read_own_ir(path)
    inputs, outputs = _ports(model.inputs), _ports(model.outputs)
    # A function that computes with a weight first, as attention does, bears the name of the module that calls it.
    callers = {layer.name.rpartition(".")[0] for layer in info.layers if layer.form == "computed"}
    searched = {layer.name for layer in info.layers} | callers
    lowered = {layer.name: layer for layer in info.layers}
    with as_exported(path):
        constants = constant_names(model)
        stored = [_stored(node, searched, constants) for node in weighted_operations(model, constants)]
    kernels = _kernels(compile_ir(with_batch(model, 1, shape, path), device, properties, path))
    layers = tuple(_layer(weight, kernels, lowered.get(weight.name)) for weight in stored)
    unique = {weight.constant: (weight.weights, weight.bytes) for weight in stored}
    size = bin_bytes(path)
    saved = sum(_FLOAT_BYTES * weights - used for weights, used in unique.values())
    dynamic = not model.has_rt_info(DYNAMIC_QUANTIZATION_OFF)
    return Inspection(
        str(path), device_name(device), info.target_device, size, size + saved, dynamic, layers, inputs, outputs
    )


def _ports(ports: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(
        Port(
            min(port.names, default=str(index)),
            tuple(-1 if length.is_dynamic else length.get_length() for length in port.partial_shape),
            port.element_type.get_type_name(),
        )
        for index, port in enumerate(ports)
    )


@dataclass(frozen=True)
class _Stored:
    chain: tuple[str, ...]
    name: str
    op: str
    searched: bool
    constant: str
    type: str
    weights: int
    bytes: int
    quantized_inputs: bool


def _stored(node: ov.Node, searched: set[str], constant: frozenset[str]) -> _Stored:
    constants = {c.get_friendly_name(): c for c in constants_below(node.input_value(1).get_node())}
    # A table of values has one dimension, and may hold more numbers than a small weight.
    largest = max(constants.values(), key=lambda c: (len(c.get_output_shape(0)) > 1, _elements(c)))
    following = following_chain(node, constant)
    chain = [node.get_friendly_name() for node in following]
    if len(chain) > 1 and chain[1].endswith(SCALE_SUFFIX):
        factors = constants_below(following[1].input_value(1).get_node())
        constants.update((factor.get_friendly_name(), factor) for factor in factors)
    modules = [module_of(name) for name in chain]
    name = modules[0] or next((f"before {module}" for module in modules if module), chain[0])
    return _Stored(
        chain=tuple(chain),
        name=name,
        op=node.get_type_name(),
        searched=name in searched,
        constant=largest.get_friendly_name(),
        type=largest.get_element_type().get_type_name(),
        weights=_elements(largest),
        bytes=sum(_bytes(constant) for constant in constants.values()),
        quantized_inputs=is_quantized(node.input_value(0)),
    )


def _elements(constant: ov.Node) -> int:
    count = 1
    for length in constant.get_output_shape(0):
        count *= int(length)
    return count


def _bytes(constant: ov.Node) -> int:
    return int(constant.get_byte_size())


def _kernels(compiled: ov.CompiledModel) -> dict[str, tuple[str, str]]:
    """Kernel and precision of each computing node by the names of the operations that the plugin put into it."""
    kernels: dict[str, tuple[str, str]] = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = {key: str(value.value) for key, value in node.get_rt_info().items()}
        if info.get("layerType") in _COMPUTING:
            kernel = f"{info['layerType']} {info.get('primitiveType', '')}".strip()
            for name in info.get("originalLayersNames", "").split(","):
                kernels[name.removesuffix("/DequantizationMultiply")] = kernel, info.get("runtimePrecision", "?")
    return kernels


def _layer(stored: _Stored, kernels: dict[str, tuple[str, str]], lowered: LoweredLayer | None) -> LayerInspection:
    # A FullyConnected may carry the name of its bias only.
    kernel, precision = next((kernels[n] for n in stored.chain if n in kernels), ("not told by the plugin", "?"))
    searched = stored.searched and (lowered is None or lowered.bits in WIDTHS)
    return LayerInspection(
        stored.name, stored.op, searched, stored.type, stored.weights, stored.bytes,
        8 * stored.bytes / max(1, stored.weights), kernel, precision,
        None if lowered is None else lowered.bits, stored.quantized_inputs,
        0 if lowered is None else lowered.zero_channels,
    )  # fmt: skip
