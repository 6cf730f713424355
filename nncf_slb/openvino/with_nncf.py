"""Exported files and NNCF's tools for IR: 8 bits for what was not searched, and nothing done to what was.

NNCF (2.19 and 3.4) fails on a network with a constant of 3 bits, whatever scopes are ignored: its graph has no name for
that type. So its networks hold 4 bits in their place, until they are saved.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov

from nncf_slb.errors import SettingError
from nncf_slb.openvino.detours import take_detours
from nncf_slb.openvino.export import save_ir
from nncf_slb.openvino.graph import (
    ZERO_POINT_SUFFIX,
    constant_names,
    constants_below,
    following_chain,
    packed_constant,
    replace_output,
    weighted_operations,
)
from nncf_slb.openvino.ir import read_own_ir
from nncf_slb.openvino.metadata import MetadataError, read_metadata
from nncf_slb.openvino.request import check_path

_WIDENED = "/3_bits_in_4"  # ends the name of a constant
_INTEGERS = {"u1", "u2", "u3", "u4", "u8", "i4", "i8"}
_SUFFIX = ".xml"


def read_for_nncf(path: str | Path) -> ov.Model:
    """Read an exported IR so that ``nncf.quantize`` and ``nncf.compress_weights`` take it.

    Args:
        path: ``.xml`` file that `nncf_slb.export_openvino` wrote.

    Returns:
        The network, with 3-bit weights in 4 bits; `save_after_nncf` packs them again. It computes the same.

    Raises:
        nncf_slb.openvino.ir.IrError: If the file is missing, damaged or not one of this package's.
    """
    model, _ = read_own_ir(path)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_element_type() == ov.Type.u3:
            wide = packed_constant(_codes(node), 4)
            wide.set_friendly_name(f"{node.get_friendly_name()}{_WIDENED}")
            replace_output(node.output(0), wide.output(0))
    model.validate_nodes_and_infer_types()
    return model


def packed_operations(model: ov.Model) -> list[str]:
    """Names of the operations that belong to layers with integer weights, for ``nncf.IgnoredScope(names=...)``.

    NNCF quantizes no such weight, but without the names it quantizes the inputs of these layers a second time, and
    those of what corrects a Linear layer by its zero point.

    Args:
        model: What `read_for_nncf` gave, or any IR.
    """
    constants = constant_names(model)
    names: list[str] = []
    for node in weighted_operations(model, constants):
        weights = constants_below(node.input_value(1).get_node())
        largest = max(weights, key=lambda constant: int(np.prod(constant.get_output_shape(0))))
        if largest.get_element_type().get_type_name() in _INTEGERS:
            names += [each.get_friendly_name() for each in (node, *_correction(node, constants))]
    return list(dict.fromkeys(names))


def _correction(node: ov.Node, constants: frozenset[str]) -> list[ov.Node]:
    """What adds a multiple of the inputs' sum to a product."""
    following = following_chain(node, constants)
    added = next((each for each in following if each.get_friendly_name().endswith(ZERO_POINT_SUFFIX)), None)
    if added is None:
        return []
    found = [added]
    sources = [value.get_node() for value in added.input_values()]
    source = next((each for each in sources if each.get_name() != node.get_name()), None)
    while source is not None and source.get_type_name() in ("Multiply", "ReduceSum"):
        found.append(source)
        source = source.input_value(0).get_node()
    return found


def save_after_nncf(model: ov.Model, path: str | Path) -> Path:
    """Write what NNCF made of a network that `read_for_nncf` gave, with 3-bit weights in 3 bits again.

    What NNCF has quantized meets faults of the CPU plugin as well, so files for the CPU get the same detours as an
    export's.

    Args:
        model: What ``nncf.quantize`` or ``nncf.compress_weights`` returned; changed in place.
        path: ``.xml`` file to write, beside a ``.bin``. An existing file is replaced only once the new one is complete.

    Returns:
        The path written.

    Raises:
        nncf_slb.errors.SettingError: If the network did not come from `read_for_nncf`.
        nncf_slb.openvino.low_bit_model.ExportError: On a wrong name, or if the file cannot be written.
    """
    target = Path(path)
    check_path(target, (_SUFFIX,))
    try:
        info = read_metadata(model)
    except MetadataError:
        info = None
    if info is None:
        raise SettingError(
            "model: received a network that read_for_nncf did not read; allowed is what NNCF made of one that it read. "
            "Save others with openvino.save_model"
        )
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        if name.endswith(_WIDENED):
            narrow = packed_constant(_codes(node), 3)
            narrow.set_friendly_name(name.removesuffix(_WIDENED))
            replace_output(node.output(0), narrow.output(0))
    if info.target_device == "CPU":
        take_detours(model)
    save_ir(model, target)
    return target


def _codes(constant: ov.Node) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    numbers = np.asarray(constant.get_vector(), np.uint8)
    return numbers.reshape(list(constant.get_output_shape(0)))
