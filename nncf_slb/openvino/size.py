"""Bytes of a ``.bin`` file for any choice of bits, from one converted model for each width.

A file holds each constant once, however many nodes read it (OpenVINO's serialization compares contents). So the file of
a mixture is as large as the constants of all its layers, each at its own width, and those of the rest of the network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import openvino as ov

from nncf_slb.openvino.graph import MODULE_PREFIX, SCALE_SUFFIX, ZERO_POINT_SUFFIX, constants_below

_Sizes = dict[bytes, int]  # bytes of constants by a digest of their contents


class FileSizes:
    """Sizes of the files of one network.

    Args:
        models: Converted and lowered models by width, in bits, which differ in the bits of `layers` only.
        layers: Paths of these layers' modules with codes, by the names that `size` takes.
    """

    def __init__(self, models: Mapping[int, ov.Model], layers: Mapping[str, str]) -> None:
        self._layers = {
            width: {name: _sizes(_constants_of_layer(model, path)) for name, path in layers.items()}
            for width, model in models.items()
        }
        self._rest: _Sizes = {}
        for width, model in models.items():
            of_layers = {digest for sizes in self._layers[width].values() for digest in sizes}
            everything = _sizes(constants_below(*model.get_results()))
            self._rest |= {digest: size for digest, size in everything.items() if digest not in of_layers}

    def size(self, bits: Mapping[str, int]) -> int:
        """Bytes of the ``.bin`` file with these bits of the layers, by name."""
        held = dict(self._rest)
        for name, width in bits.items():
            held |= self._layers[width].get(name, {})
        return sum(held.values())


def _sizes(constants: Iterable[ov.Node]) -> _Sizes:
    return {hashlib.sha256(node.data.tobytes()).digest(): node.get_byte_size() for node in constants}


def _constants_of_layer(model: ov.Model, path: str) -> Iterator[ov.Node]:
    """Constants that a layer's weight is decoded from or scaled with, and those that make up for its zero point."""
    for node in model.get_ops():
        name = node.get_friendly_name()
        if name in (f"self.{path}/weight", f"self.{path}/decoded"):
            yield from constants_below(node)
        elif not name.startswith(f"{MODULE_PREFIX}{path}/"):
            continue
        elif name.endswith(ZERO_POINT_SUFFIX):
            scaled = node.input_value(1).get_node()
            for factor in (scaled, scaled.input_value(0).get_node()):
                yield factor.input_value(1).get_node()
        elif node.get_type_name() == "BinaryConvolution" or name.endswith(SCALE_SUFFIX):
            yield node.input_value(1).get_node()
