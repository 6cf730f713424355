"""Data for a network in OpenVINO: what the user gives, as the element types of its inputs, or random numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch import Tensor

from nncf_slb.errors import DataError, printable

Array = npt.NDArray[Any]
_RANDOM_SAMPLES = 16


def input_arrays(ir: ov.Model, data: Any, path: str | Path) -> list[Array]:
    """Arrays that a network takes, one for each input, with the samples along the first dimension.

    Args:
        ir: The network.
        data: Tensor or array, or a tuple of them for several inputs; for None 16 samples of standard normal numbers
            (seed 0), for inputs that take fractions.
        path: File that the network was read from, for messages.

    Raises:
        DataError: If the data is not of numbers that the inputs take, in shapes that they take; or without data, if an
            input takes whole numbers or is of free size.
    """
    if data is None:
        generator = np.random.default_rng(0)
        return [_random(port, generator, printable(path)) for port in ir.inputs]
    arrays = [_numbers(item) for item in (data if isinstance(data, tuple | list) else [data])]
    ports = [port.get_partial_shape() for port in ir.inputs]
    fit = len(arrays) == len(ports) and all(
        array.ndim == len(shape) and ov.PartialShape([-1, *array.shape[1:]]).compatible(_free_batch(shape))
        for array, shape in zip(arrays, ports, strict=False)
    )
    if not fit or len({len(array) for array in arrays}) != 1 or not len(arrays[0]):
        received = ", ".join(str(list(array.shape)) for array in arrays)
        raise DataError(
            f"data: received {received}; the network takes {', '.join(map(str, ports))}, where the first "
            "dimension may be any number of samples, the same for every input"
        )
    return [_as_input(array, port, index) for index, (array, port) in enumerate(zip(arrays, ir.inputs, strict=True))]


def _numbers(data: Any) -> Tensor:
    """Tensor of what the user gave, on the CPU."""
    try:
        # A writable copy where it is none, since torch warns of others, and of negative strides.
        tensor = data if isinstance(data, Tensor) else torch.from_numpy(np.require(data, requirements=["C", "W"]))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"data: received {type(data).__name__}, not a tensor or an array of numbers ({error})"
        ) from error
    return tensor.detach().cpu()


def _as_input(data: Tensor, port: ov.Output, index: int) -> Array:
    """Array of the element type that an input takes."""
    wanted = torch.from_numpy(np.empty(0, port.get_element_type().to_dtype())).dtype
    if not torch.can_cast(data.dtype, wanted):
        raise DataError(
            f"data: received {data.dtype} for input {index}, which takes {wanted}; allowed are numbers that this type "
            "holds. Convert the data, or export with an example input of the other type"
        )
    return data.to(wanted).numpy()


def _free_batch(shape: ov.PartialShape) -> ov.PartialShape:
    return ov.PartialShape([-1, *list(shape)[1:]])


def _random(port: ov.Output, generator: np.random.Generator, file: str) -> Array:
    if not port.get_element_type().is_real():
        kind = port.get_element_type().get_type_name()
        raise DataError(
            f"data: received none, and the network takes {kind}, of a range not known here: pass data for {file}"
        )
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic or any(dimension.is_dynamic for dimension in list(shape)[1:]):
        raise DataError(f"data: received none, and the network takes {shape}: pass data for {file}")
    lengths = [_RANDOM_SAMPLES, *(dimension.get_length() for dimension in list(shape)[1:])]
    try:
        return generator.standard_normal(lengths).astype(port.get_element_type().to_dtype())
    except (MemoryError, ValueError, OverflowError) as error:
        raise DataError(
            f"data: received none, and the network takes {shape}, too large to make up: pass data for {file}"
        ) from error
