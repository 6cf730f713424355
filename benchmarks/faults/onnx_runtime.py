"""ONNX Runtime: graphs that it refuses, rounds on its own, or does not fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.faults.fault import ONNX_RUNTIME, fault
from benchmarks.faults.pieces import Array, noise

Node = tuple[str, Sequence[str], str, dict[str, Any]]


def model_of(nodes: Sequence[Node], constants: dict[str, Array], shape: Sequence[Any], opset: int = 21) -> bytes:
    """A model from `x` of this shape to `y`; each node is operator, inputs, output and attributes."""
    made = [helper.make_node(kind, list(inputs), [output], **more) for kind, inputs, output, more in nodes]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape) if name == "x" else None) for name in "xy"
    ]
    graph = helper.make_graph(made, "model", ports[:1], ports[1:], tensors)
    opsets = [helper.make_opsetid("", opset)]
    model: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=13 if opset > 23 else 10
    ).SerializeToString()
    return model


def session(model: bytes, optimized: bool = True) -> Any:
    """On the CPU, with or without the runtime's rewriting of the graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model: bytes, x: Array, optimized: bool = True) -> Array:
    """The output."""
    result: Array = session(model, optimized).run(None, {"x": x})[0]
    return result


def kinds(model: bytes) -> list[str]:
    """Operators of the graph as the runtime has rewritten it."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(Path(folder) / "rewritten.onnx")
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


def pair(name: str, scale: str = "step", zero: str = "middle") -> list[Node]:
    """QuantizeLinear and DequantizeLinear of a tensor; gives `NAME/q`."""
    return [
        ("QuantizeLinear", [name, scale, zero], f"{name}/8", {}),
        ("DequantizeLinear", [f"{name}/8", scale, zero], f"{name}/q", {}),
    ]


STEP = {"step": np.float32(1 / 32), "middle": np.uint8(128)}
SHAPE = ("n", 8, 8, 8)


def int8_weight(shape: Sequence[int], zero_point: bool = False) -> tuple[list[Node], dict[str, Array]]:
    """DequantizeLinear of whole numbers, as `w`, with a scale for each channel."""
    numbers = np.random.default_rng(0).integers(-3, 4, shape).astype(np.int8)
    constants: dict[str, Array] = {"numbers": numbers, "scales": np.full(shape[0], 0.1, np.float32)}
    if zero_point:
        constants["zeros"] = np.zeros(shape[0], np.int8)
    return [("DequantizeLinear", list(constants), "w", {"axis": 0})], constants


@fault(ONNX_RUNTIME, "onnx.weights.WeightWriter.integer")
def two_bits_beside_quantized_inputs() -> bool:
    """DequantizeLinear of UINT2 beside quantized inputs is refused when the model is loaded.

    It is fused into QLinearConv, which knows no 2 bits. It runs without the rewriting, or with float inputs; a Cast and
    a Gather from an int8 table in its place run as QLinearConv.
    """
    codes = (np.arange(8 * 8 * 9) % 4).reshape(8, 8, 3, 3).astype(ml_dtypes.uint2)
    constants = {**STEP, "codes": codes, "scales": np.full(8, 0.1, np.float32)}
    decoded: list[Node] = [("DequantizeLinear", ["codes", "scales"], "w", {"axis": 0})]
    made: list[Node] = [("Conv", ["x/q", "w"], "c", {}), *pair("c"), ("Identity", ["c/q"], "y", {})]
    model = model_of([*pair("x"), *decoded, *made], constants, SHAPE, opset=25)
    run(model, noise(1, 8, 8, 8), optimized=False)
    try:
        session(model)
    except Exception:
        return True
    return False


@fault(ONNX_RUNTIME, "onnx.quantizers.move_quantizers_up")
def convolution_in_float_before_a_clamp() -> bool:
    """A quantized convolution runs in float where a ReLU stands between it and QuantizeLinear.

    With levels around a zero point, where the ReLU is a bound of the levels. With QuantizeLinear directly behind the
    convolution, it is QLinearConv.
    """
    decoded, constants = int8_weight((8, 8, 3, 3))
    found = []
    for clamp in ("Relu", "Identity"):
        behind: list[Node] = [(clamp, ["c"], "r", {}), *pair("r"), ("Identity", ["r/q"], "y", {})]
        nodes = [*pair("x"), *decoded, ("Conv", ["x/q", "w"], "c", {}), *behind]
        found.append("QLinearConv" in kinds(model_of(nodes, {**STEP, **constants}, SHAPE)))
    return found == [False, True]


@fault(ONNX_RUNTIME, "onnx.weights.WeightWriter.integer")
def gemm_without_a_zero_point() -> bool:
    """A quantized Gemm runs in float where DequantizeLinear of its weight has no zero point.

    The standard says that it is zero then. With a zero point of zeros it is QGemm.
    """
    found = []
    for zero_point in (False, True):
        decoded, constants = int8_weight((8, 16), zero_point)
        made: list[Node] = [("Gemm", ["x/q", "w"], "y", {"transB": 1})]
        found.append("QGemm" in kinds(model_of([*pair("x"), *decoded, *made], {**STEP, **constants}, ("n", 16))))
    return found == [False, True]


@fault(ONNX_RUNTIME, "onnx.lowering.lower")
def gemm_with_a_float_bias() -> bool:
    """A quantized Gemm with a float bias and a float output runs in float.

    With the bias added behind it, it is QGemm.
    """
    decoded, constants = int8_weight((8, 16), True)
    constants["bias"] = noise(8)
    inside: list[Node] = [("Gemm", ["x/q", "w", "bias"], "y", {"transB": 1})]
    behind: list[Node] = [("Gemm", ["x/q", "w"], "g", {"transB": 1}), ("Add", ["g", "bias"], "y", {})]
    models = [model_of([*pair("x"), *decoded, *made], {**STEP, **constants}, ("n", 16)) for made in (inside, behind)]
    return ["QGemm" in kinds(model) for model in models] == [False, True]


@fault(ONNX_RUNTIME, "onnx.lowering.lower")
def float_weights_rounded_unasked() -> bool:
    """A float weight is rounded to 8 bits where the layer's input and output are quantized.

    Nothing in the model asks for it, and small channels lose most. A Max with the least number behind the layer keeps
    the runtime from doing so.
    """
    w = noise(8, 8, 3, 3) * np.logspace(0, -4, 8, dtype=np.float32)[None, :, None, None]
    constants = {**STEP, "w": w, "fine": np.float32(1e-4), "lowest": np.finfo(np.float32).min}
    x = np.zeros((1, 8, 8, 8), np.float32)
    x[:, 7] = noise(1, 8, 8)  # only the channel whose weights are small
    nodes = [*pair("x"), ("Conv", ["x/q", "w"], "c", {}), *pair("c", "fine"), ("Identity", ["c/q"], "y", {})]
    model = model_of(nodes, {name: np.asarray(value) for name, value in constants.items()}, SHAPE)
    ours, plain = run(model, x), run(model, x, optimized=False)
    return "QLinearConv" in kinds(model) and float(np.abs(ours - plain).max()) > 0.2 * float(np.abs(plain).max())


@fault(ONNX_RUNTIME, "onnx.lowering.lower")
def bias_beyond_32_bits() -> bool:
    """A bias that is large beside the steps of inputs and weights overflows the 32 bits of QLinearConv.

    The result has the wrong sign, without a word. Such layers stay in float.
    """
    decoded, constants = int8_weight((8, 8, 3, 3))
    constants["scales"] = np.full(8, 1e-9, np.float32)
    constants["bias"] = np.full(8, 1.0, np.float32)
    nodes = [*pair("x"), *decoded, ("Conv", ["x/q", "w", "bias"], "c", {}), *pair("c"), ("Identity", ["c/q"], "y", {})]
    model, x = model_of(nodes, {**STEP, **constants}, SHAPE), noise(1, 8, 8, 8)
    return float(np.abs(run(model, x) - run(model, x, optimized=False)).max()) > 0.1


@fault(ONNX_RUNTIME, "onnx.weights.WeightWriter.floating")
def decoding_kept_beside_float_inputs() -> bool:
    """DequantizeLinear of a constant is not folded beside float inputs, and runs in every inference.

    Cast and Mul in its place are folded when the model is loaded.
    """
    numbers = np.random.default_rng(0).integers(-3, 4, (8, 16)).astype(np.int8)
    constants = {"numbers": numbers, "scale": np.float32(0.1)}
    dequantized: list[Node] = [("DequantizeLinear", ["numbers", "scale"], "w", {})]
    multiplied: list[Node] = [
        ("Cast", ["numbers"], "f", {"to": TensorProto.FLOAT}), ("Mul", ["f", "scale"], "w", {})
    ]  # fmt: skip
    product: list[Node] = [("Gemm", ["x", "w"], "y", {"transB": 1})]
    lengths = [
        len(kinds(model_of([*decoding, *product], {k: np.asarray(v) for k, v in constants.items()}, ("n", 16))))
        for decoding in (dequantized, multiplied)
    ]
    return lengths[0] > lengths[1] == 1
