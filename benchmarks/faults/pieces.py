"""What the minimal models consist of, and the processes of their own in which they run."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

Array = npt.NDArray[Any]
FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}


def apart(action: Callable[[], Array]) -> Array | None:
    """What an action computes in a process of its own; None if it raises, dies or hangs.

    So this process never starts the plugin's threads, with which it could not be forked.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        faulthandler.disable()  # a crash is what is looked for
        signal.alarm(60)
        try:
            content = BytesIO()
            np.save(content, action())
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(content.getvalue())
            os._exit(0)
        except BaseException:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result = pipe.read()
    return np.load(BytesIO(result), allow_pickle=False) if os.waitpid(child, 0)[1] == 0 else None


def fails(action: Callable[[], bool]) -> bool:
    """Whether an action gives False, raises, dies or hangs, in a process of its own."""
    result = apart(lambda: np.array(action()))
    return result is None or not result


def compute(model: ov.Model, x: Array, **properties: Any) -> Array:
    """First output on the CPU; without `properties`, as the plugin does it by default."""
    result: Array = ov.Core().compile_model(model, "CPU", {**FLOAT, **properties})([x])[0]
    return result


def what_it_says(model: ov.Model, x: Array) -> Array:
    """The same without low-precision transformations and fusing of elementwise operations."""
    result = apart(lambda: compute(model, x, LP_TRANSFORMS_MODE="NO", SNIPPETS_MODE="DISABLE"))
    assert result is not None
    return result


def is_wrong(model: ov.Model, x: Array, expected: Array, **properties: Any) -> bool:
    """Whether the plugin computes something else, by more than rounding, or fails, or dies."""
    result = apart(lambda: compute(model, x, **properties))
    if result is None or result.shape != expected.shape:
        return True
    return not np.abs(result - expected).max() < 1e-3 * np.abs(expected).max()


def precision(model: ov.Model, kind: str) -> str:
    """Precision that a kernel of a kind runs in; empty without one."""

    def found() -> Array:
        compiled = ov.Core().compile_model(model, "CPU", FLOAT)
        information = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
        precisions = [str(each["runtimePrecision"].value) for each in information if each["layerType"].value == kind]
        return np.array(precisions[0] if precisions else "")

    return str(apart(found))


def noise(*shape: int, seed: int = 0) -> Array:
    """Standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def quantized(x: Any, low: float = -4.0, levels: int = 256) -> ov.Node:
    """Levels around zero, 1/32 apart."""
    step = 2.0**-5
    ends = [ops.constant(np.float32(end)) for end in (low, low + step * (levels - 1))]
    return ops.fake_quantize(x, *ends, *ends, levels)


def unsigned(x: Any, high: float) -> ov.Node:
    """256 levels from zero."""
    ends = [ops.constant(np.float32(end)) for end in (0.0, high)]
    return ops.fake_quantize(x, *ends, *ends, 256)


def weight(*shape: int, seed: int = 1) -> tuple[ov.Node, Array]:
    """int8 numbers times a scale per output channel, as the plugin takes them for int8 kernels."""
    numbers = np.random.default_rng(seed).integers(-3, 4, shape).astype(np.int8)
    scale = np.random.default_rng(seed + 1).random((shape[0], *[1] * (len(shape) - 1))).astype(np.float32)
    return ops.multiply(ops.convert(ops.constant(numbers), "f32"), ops.constant(scale)), numbers * scale


def packed_weight(*shape: int, seed: int = 1) -> tuple[ov.Node, Array]:
    """2-bit numbers around a zero point, times a scale per output channel, as the plugin keeps them packed."""
    codes = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)
    scale = np.random.default_rng(seed + 1).random((shape[0], *[1] * (len(shape) - 1))).astype(np.float32)
    number, zero_point = (ops.convert(two_bits(each), "f32") for each in (codes, np.ones([1] * len(shape), np.uint8)))
    return ops.multiply(ops.subtract(number, zero_point), ops.constant(scale)), (codes.astype(np.float32) - 1) * scale


def two_bits(codes: Array) -> ov.Node:
    """Constant of u2."""
    four = np.pad(codes.ravel(), (0, -codes.size % 4)).reshape(-1, 4)
    return small(np.bitwise_or.reduce(four << np.arange(0, 8, 2, dtype=np.uint8), axis=1), ov.Type.u2, codes.shape)


def small(packed: Array, kind: ov.Type, shape: tuple[int, ...]) -> ov.Node:
    """Constant of a type below a byte."""
    tensor = ov.Tensor(kind, ov.Shape(list(shape)))
    tensor.data.reshape(-1)[: packed.size] = packed.astype(np.uint8).view(tensor.data.dtype)
    return ov.op.Constant(tensor, shared_memory=False)


def convolution(x: Any, w: Any, stride: int = 1, pad: int = 0) -> ov.Node:
    """2D convolution."""
    return ops.convolution(x, w, [stride] * 2, [pad] * 2, [pad] * 2, [1, 1])
