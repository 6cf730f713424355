"""Packed constants and their decoding, in the forms that plugins run in integers.

Measured (OpenVINO 2026.4.1): a convolution whose weight is ``Const(uN) -> Convert(i8) -> integer arithmetic ->
Convert(f32) -> Multiply`` runs in int8 on the CPU when its input is quantized, with N bits per weight in the file. The
integer part must be foldable and must not look like a dequantization, hence ``Add(c, c)`` where ``2 c`` is meant.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from nncf_slb.config.devices import TargetDevice
from nncf_slb.openvino.graph import (
    ZERO_POINT_SUFFIX,
    CodedConstant,
    CodedUse,
    Floats,
    LoweringError,
    packed_constant,
    replace_output,
)
from nncf_slb.openvino.packing import Bytes
from nncf_slb.search.eight_bits import EIGHT_BITS

_PORTABLE_BITS = 4
_NPU_ZERO_POINT = 8
_LARGEST_U4 = 15


def use_integer_form(use: CodedUse, portable: bool) -> str:
    """Decode by integer arithmetic that every plugin folds when it loads the model.

    Args:
        use: Where the weight is used.
        portable: Store every code in 4 bits, the only packed type that all plugins read.

    Returns:
        Stored element type.
    """
    decoded, stored = _integers(use.codes, use.constant, portable)
    _use(use, decoded)
    return stored


def is_1x1_convolution(use: CodedUse) -> bool:
    """Whether a weight is that of a convolution of single elements."""
    return use.operation.get_type_name() == "Convolution" and all(length == 1 for length in use.codes.shape[2:])


def use_table_form(use: CodedUse, portable: bool) -> str:
    """Look the values up in a float table, which does not look like a decompression of integers.

    The CPU plugin goes wrong with one in two places (measured with OpenVINO 2026.4.1): it turns a 1x1 convolution with
    unquantized inputs, behind a transposition or a pooling, into a FullyConnected and forgets its stride; and it fails
    to compile a layer whose input is a constant, or becomes one when sizes are fixed.

    Returns:
        Stored element type.
    """
    decoded, stored = _from_table(use.codes, use.constant, portable)
    _use(use, decoded)
    return stored


def use_plain_form(use: CodedUse) -> str:
    """``Convert -> Subtract -> Multiply`` of a u4 constant, or without ``Subtract`` of an i8 one, as the NPU reads it.

    A scale of 4-bit weights changes along one axis there. Scales of grouped convolutions have two: where these come
    first, the weight is decoded with both in one and then gets its shape; of transposed ones it takes i8.

    Returns:
        Stored element type.

    Raises:
        LoweringError: If the values are no integers times a step.
    """
    scale = None if use.scale is None else _smallest(use.scale)
    axes = [] if scale is None else [axis for axis, length in enumerate(scale.shape) if length > 1]
    if scale is not None and len(axes) > 1 and axes == list(range(len(axes))):
        joined = use.codes.reshape(-1, *use.codes.shape[len(axes) :])
        decoded, factor, stored = _plain(joined, use.constant)
        decoded.set_friendly_name(f"{use.name}/decoded")
        factors = scale.reshape(-1, *[1] * (joined.ndim - 1)) * np.float32(factor)
        weight = ops.multiply(decoded, ops.constant(factors, dtype=np.float32))
        _attach(use, ops.reshape(weight, ops.constant(np.array(use.codes.shape)), special_zero=False))
        return stored
    decoded, factor, stored = _plain(use.codes, use.constant, in_eight_bits=len(axes) > 1)
    _use(use, decoded, factor)
    return stored


def decode_in_place(conversions: list[ov.Node], constant: CodedConstant, target_device: TargetDevice) -> str:
    """Put the values in the place of the codes, for a weight that the network computes with before it uses it.

    Args:
        conversions: Conversions of the u8 codes to float.
        constant: Codes and values.
        target_device: Device that the form is for.

    Returns:
        Stored element type.

    Raises:
        LoweringError: For the NPU, if the values are no integers times a step.
    """
    if target_device == "NPU":
        decoded, factor, stored = _plain(constant.codes, constant)
        decoded = ops.multiply(decoded, np.float32(factor)) if factor != 1 else decoded
    else:
        decoded, stored = _integers(constant.codes, constant, portable=target_device != "CPU")
    decoded.set_friendly_name(f"{constant.prefix}/decoded")
    for conversion in conversions:
        replace_output(conversion.output(0), decoded.output(0))
    return stored


def use_compressed_form(use: CodedUse, portable: bool) -> str | None:
    """Keep the weight of a Linear layer with unquantized inputs packed while it runs (FullyConnected, u2 or u4).

    The kernel wants an integer zero point (a fractional one takes three times as long), but evenly spaced values
    symmetric about zero have none. With ``w = s (d q + f)`` and an integer ``z`` near ``-f / d``, ``x w`` is
    ``s d x (q - z) + s (d z + f) sum(x)``. 1 and 3 bits are widened to 2 and 4 when the model is loaded, since those
    kernels exist.

    Returns:
        Stored element type; None if the weight has no such form, and nothing is changed.
    """
    spacing = even_spacing(use.constant.table)
    scale = use.channel_scale(0)
    matmul = use.operation
    fits = matmul.get_type_name() == "MatMul" and use.codes.ndim == 2 and use.consumer.get_index() == 1
    if spacing is None or scale is None or not fits:
        return None
    attributes = matmul.get_attributes()
    if attributes["transpose_a"] or not attributes["transpose_b"]:
        return None
    first, step = spacing
    stored = _bits_in_file(use.constant, portable)
    kept = stored + stored % 2
    if use.codes.shape[1] * kept % 8:  # the kernel reads rows from whole bytes on: else its results are wrong
        return None
    zero_point = int(np.clip(-first // step, 0, 2**kept - 1))
    codes = packed_constant(use.codes, stored)
    number = ops.convert(codes if stored == kept else ops.convert(codes, f"u{kept}"), "f32")
    if zero_point:
        shift = packed_constant(np.full((1, 1), zero_point, np.uint8), kept)
        number = ops.subtract(number, ops.convert(shift, "f32"))
    factors = scale * np.float32(step)
    _attach(use, ops.multiply(number, ops.constant(factors[:, None])))
    rest = step * zero_point + first
    if rest:
        _add_multiple_of_sum(matmul, rest / step, factors)
    return f"u{stored}"


def _add_multiple_of_sum(matmul: ov.Node, rest: float, factors: Floats) -> None:
    """Add ``rest * sum(inputs) * factors``; the factors are the weight's own, which the file then holds once."""
    total = ops.reduce_sum(matmul.input_value(0), ops.constant(np.array([-1])), keep_dims=True)
    term = ops.multiply(ops.multiply(total, np.float32(rest)), ops.constant(factors))
    result = ops.add(matmul, term)
    result.set_friendly_name(f"{matmul.get_friendly_name()}{ZERO_POINT_SUFFIX}")
    replace_output(matmul.output(0), result.output(0), but=result)


def even_spacing(table: npt.NDArray[np.generic]) -> tuple[int, int] | None:
    """First entry of an integer table and distance of its entries; None if they are not evenly spaced integers."""
    steps = np.unique(np.diff(table.astype(np.int16))) if table.dtype == np.int8 else np.array([])
    return (int(table[0]), int(steps[0])) if steps.size == 1 else None


def _use(use: CodedUse, decoded: ov.Node, factor: float = 1.0) -> None:
    decoded.set_friendly_name(f"{use.name}/decoded")
    scale = np.full([1] * use.codes.ndim, factor, np.float32) if use.scale is None else use.scale * np.float32(factor)
    _attach(use, ops.multiply(decoded, ops.constant(_smallest(scale), dtype=np.float32)))


def _attach(use: CodedUse, weight: ov.Node) -> None:
    weight.set_friendly_name(f"{use.name}/weight")
    use.consumer.replace_source_output(weight.output(0))


def _smallest(scale: Floats) -> Floats:
    """Keep one element of each axis along which the scale does not change."""
    for axis in range(scale.ndim):
        first = scale.take([0], axis=axis)
        if np.array_equal(np.broadcast_to(first, scale.shape), scale):
            scale = first
    return np.ascontiguousarray(scale)


def _plain(codes: Bytes, constant: CodedConstant, in_eight_bits: bool = False) -> tuple[ov.Node, float, str]:
    """Numbers, the factor that is still missing, and the stored type.

    4 bits where the values are multiples of one number around a whole zero point: the NPU's compiler rounds others.
    """
    table = constant.table
    if table.dtype != np.int8:
        raise LoweringError(
            f"{constant.layer}: its values are not integers up to 64 times one step, so the types that the NPU reads "
            "cannot hold them; use values that are, or another target_device"
        )
    factor = max(1, int(np.gcd.reduce(table.astype(np.int16))))
    levels = table.astype(np.int16) // factor
    lowest, highest = min(0, int(levels.min())), max(0, int(levels.max()))
    if in_eight_bits or constant.bits == EIGHT_BITS or highest - lowest > _LARGEST_U4:
        return ops.convert(ops.constant(table[codes].astype(np.int8)), "f32"), 1.0, "i8"
    zero_point = max(-lowest, min(_NPU_ZERO_POINT, _LARGEST_U4 - highest))
    numbers = packed_constant((levels + zero_point).astype(np.uint8)[codes], _PORTABLE_BITS)
    zero = packed_constant(np.full([1] * codes.ndim, zero_point, np.uint8), _PORTABLE_BITS)
    return ops.subtract(ops.convert(numbers, "f32"), ops.convert(zero, "f32")), float(factor), "u4"


def _integers(codes: Bytes, constant: CodedConstant, portable: bool) -> tuple[ov.Node, str]:
    """Numbers of the table as float32, and the stored type."""
    table = constant.table
    if table.dtype != np.int8:
        return _from_table(codes, constant, portable)
    if constant.bits == EIGHT_BITS:
        return ops.convert(ops.constant(table[codes]), "f32"), "i8"
    stored, type_name = _stored(codes, constant, portable)
    first, step = even_spacing(table) or (0, 0)
    if step not in (1, 2):
        integers = ops.gather(ops.constant(table), ops.convert(stored, "i32"), ops.constant(0))
        return ops.convert(integers, "f32"), type_name
    integers = ops.convert(stored, "i8")
    if step == 2:
        integers = ops.add(integers, integers)
    if first:
        integers = ops.subtract(integers, ops.constant(-first, dtype=np.int8))
    return ops.convert(integers, "f32"), type_name


def _from_table(codes: Bytes, constant: CodedConstant, portable: bool) -> tuple[ov.Node, str]:
    """The same by a float32 table."""
    stored, type_name = _stored(codes, constant, portable)
    table = ops.constant(constant.table.astype(np.float32))
    return ops.gather(table, ops.convert(stored, "i32"), ops.constant(0)), type_name


def _stored(codes: Bytes, constant: CodedConstant, portable: bool) -> tuple[ov.Node, str]:
    bits = _bits_in_file(constant, portable)
    return packed_constant(codes, bits), f"u{bits}"


def _bits_in_file(constant: CodedConstant, portable: bool) -> int:
    return max(_PORTABLE_BITS, constant.bits) if portable else constant.bits
