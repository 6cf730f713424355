"""The file of a packed checkpoint: safetensors, with codes as bit planes and settings as metadata.

For a weight ``conv.weight`` the file holds ``conv.weight.codes`` (uint8: planes of 1 to 4 bits, or 8 bits as they
are), ``conv.weight.scale`` and ``conv.weight.values``; for a quantizer of a layer's inputs its ``step``; everything
else under its own name. A tensor that occurs twice is held once. Needs torch and safetensors only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nncf_slb.errors import SLBError
from nncf_slb.files import new_file
from nncf_slb.search.bit_planes import from_planes, planes_shape, to_planes
from nncf_slb.search.runtime import Codes, FixedActivation
from nncf_slb.version import __version__

SUFFIX = ".safetensors"
FORMAT = 1
_KEY = "nncf_slb"
_WHOLE = 8  # bits of codes that are not taken apart
_WIDTHS = (1, 2, 3, 4, _WHOLE)
_QUANTIZED = (1, 2, 4, 8)


class CheckpointError(SLBError, RuntimeError):
    """A packed checkpoint that cannot be written or used, with the reason and the remedy."""


@dataclass(frozen=True)
class PackedWeight:
    """Settings of one coded weight.

    Attributes:
        bits: Bits of one code, 1-4 or 8.
        shape: Shape of the weight.
    """

    bits: int
    shape: tuple[int, ...]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of the codes in the file."""
        return self.shape if self.bits == _WHOLE else planes_shape(math.prod(self.shape), self.bits)


@dataclass(frozen=True)
class PackedQuantizer:
    """Settings of one quantizer of inputs.

    Attributes:
        bits: 1, 2, 4 or 8; 1 is a sign.
        lowest: Lowest level, an integer.
        highest: Highest level.
    """

    bits: int
    lowest: int
    highest: int


@dataclass(frozen=True)
class PackedFile:
    """Contents of a packed checkpoint.

    Attributes:
        path: The file.
        weights: Coded weights by the name of the parameter that they stand for.
        quantizers: Quantizers of inputs by the path of the layer.
        tensors: Tensors by the names that the file holds them under.
        same_as: Names of tensors that the file does not hold a second time, with those of their equals.
    """

    path: Path
    weights: Mapping[str, PackedWeight]
    quantizers: Mapping[str, PackedQuantizer]
    tensors: Mapping[str, Tensor]
    same_as: Mapping[str, str]

    def stored_name(self, name: str) -> str:
        """Name under which the file holds a tensor."""
        return self.same_as.get(name, name)

    def tensor(self, name: str) -> Tensor:
        """A tensor by its own name."""
        return self.tensors[self.stored_name(name)]

    def codes(self, name: str) -> Codes:
        """A coded weight by its parameter's name, in tensors of its own.

        Raises:
            CheckpointError: If a code has no value.
        """
        weight = self.weights[name]
        stored, values = self.tensor(f"{name}.codes"), self.tensor(f"{name}.values").clone()
        codes = stored.clone() if weight.bits == _WHOLE else from_planes(stored, weight.shape)
        if codes.numel() and int(codes.max()) >= len(values):
            raise _damaged(self.path, f"{name} has a code {int(codes.max())}, and {len(values)} values")
        return Codes(codes, values, self.tensor(f"{name}.scale").clone(), weight.bits)

    def quantizer(self, path: str) -> FixedActivation:
        """A quantizer by the path of its layer."""
        settings = self.quantizers[path]
        step = None if settings.bits == 1 else self.tensor(f"{path}.input_quantizer.step").clone()
        return FixedActivation(settings.bits, step, (settings.lowest, settings.highest))

    def others(self) -> dict[str, str]:
        """Tensors that are no part of a coded weight or a quantizer: the names that the file holds them under, by
        their own."""
        parts = {f"{name}.{part}" for name in self.weights for part in ("codes", "scale", "values")}
        parts |= {f"{path}.input_quantizer.step" for path in self.quantizers}
        return {name: self.stored_name(name) for name in (*self.tensors, *self.same_as) if name not in parts}


class Packing:
    """Collects what a packed checkpoint is to hold."""

    def __init__(self) -> None:
        self._weights: dict[str, PackedWeight] = {}
        self._quantizers: dict[str, PackedQuantizer] = {}
        self._tensors: dict[str, Tensor] = {}
        self._same_as: dict[str, str] = {}

    def add_weight(self, name: str, coded: Codes) -> None:
        """A coded weight, under the name of the parameter that it stands for."""
        codes = coded.codes if coded.bits == _WHOLE else to_planes(coded.codes, coded.bits)
        self._weights[name] = PackedWeight(coded.bits, tuple(coded.codes.shape))
        for part, tensor in {"codes": codes, "scale": coded.scale, "values": coded.values}.items():
            self.add_tensor(f"{name}.{part}", tensor)

    def add_quantizer(self, path: str, quantizer: FixedActivation) -> None:
        """A quantizer of a layer's inputs, under the path of the layer."""
        self._quantizers[path] = PackedQuantizer(quantizer.bits, quantizer.lowest, quantizer.highest)
        if quantizer.step is not None:
            self.add_tensor(f"{path}.input_quantizer.step", quantizer.step)

    def add_tensor(self, name: str, tensor: Tensor) -> None:
        """Any other tensor, or part of the above."""
        own = tensor.detach().cpu().contiguous()
        equal = next((other for other, held in self._tensors.items() if _same_bits(own, held)), None)
        if equal is None:
            self._tensors[name] = own
        else:
            self._same_as[name] = equal

    def write(self, path: Path) -> None:
        """Write the file, complete or not at all.

        Raises:
            CheckpointError: If it cannot be written.
        """
        settings = {
            "format": FORMAT,
            "version": __version__,
            "weights": {name: asdict(weight) for name, weight in self._weights.items()},
            "quantizers": {name: asdict(quantizer) for name, quantizer in self._quantizers.items()},
            "same_as": self._same_as,
        }
        write_tensors(path, self._tensors, {_KEY: json.dumps(settings, separators=(",", ":"))})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, complete or not at all.

    Raises:
        CheckpointError: On another suffix, a folder of that name, or what the system or safetensors refuses.
    """
    if path.suffix != SUFFIX or path.is_dir():
        raise CheckpointError(f"path: received '{path}'; allowed are names of files that end in {SUFFIX}")
    try:
        with new_file(path) as partial:
            save_file(dict(tensors), partial, metadata)
    except (OSError, SafetensorError, ValueError, KeyError) as error:  # ValueError and KeyError: dtypes it lacks
        raise CheckpointError(f"{path}: it cannot be written ({error})") from error


def read_packed(path: str | Path) -> PackedFile:
    """Read a packed checkpoint and check that it is whole.

    Raises:
        CheckpointError: If the file is missing, truncated, damaged, not one of this package's or of a newer format.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"{file}: there is no such file")
    try:
        with safe_open(file, framework="pt") as opened:
            settings = _settings(file, opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{file}: it is no complete safetensors file ({error}); copy or pack it again") from error
    packed = _parsed(file, settings, tensors)
    problem = _problem(packed)
    if problem is not None:
        raise _damaged(file, problem)
    return packed


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(_bytes(one), _bytes(other))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: it is damaged ({what}); copy or pack it again")


def _settings(path: Path, metadata: Mapping[str, str]) -> Any:
    if _KEY not in metadata:
        raise CheckpointError(
            f"{path}: nncf_slb did not pack this file; give one that nncf_slb.save_packed or 'nncf-slb pack' wrote, "
            "and load a state dict with the network's own load_state_dict"
        )
    try:
        settings = json.loads(metadata[_KEY])
        written, version = settings["format"], settings["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, f"its settings cannot be read, {type(error).__name__}") from error
    if not isinstance(written, int) or written > FORMAT:
        raise CheckpointError(
            f"{path}: nncf_slb {version} wrote it in format {written}; this one, {__version__}, reads formats up to "
            f"{FORMAT}. Install a newer nncf_slb, or pack the network with this one"
        )
    return settings


def _parsed(path: Path, settings: Any, tensors: dict[str, Tensor]) -> PackedFile:
    try:
        weights = {
            str(name): PackedWeight(_whole(each["bits"]), tuple(_whole(length) for length in each["shape"]))
            for name, each in settings["weights"].items()
        }
        quantizers = {
            str(name): PackedQuantizer(*(_whole(each[key]) for key in ("bits", "lowest", "highest")))
            for name, each in settings["quantizers"].items()
        }
        same_as = {str(name): str(other) for name, other in settings["same_as"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"its settings are none of this format, {type(error).__name__}") from error
    return PackedFile(path, weights, quantizers, tensors, same_as)


def _whole(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError("no whole number")
    return number


def _problem(packed: PackedFile) -> str | None:
    """What does not fit together; None if everything does."""
    missing = [other for other in packed.same_as.values() if other not in packed.tensors]
    for name, weight in packed.weights.items():
        if weight.bits not in _WIDTHS or not all(length > 0 for length in weight.shape):
            return f"{name} has {weight.bits} bits and the shape {list(weight.shape)}"
        missing += [f"{name}.{part}" for part in ("codes", "scale", "values") if not _holds(packed, f"{name}.{part}")]
    for path, quantizer in packed.quantizers.items():
        if quantizer.bits not in _QUANTIZED or not quantizer.lowest < quantizer.highest:
            return f"the inputs of {path} have {quantizer.bits} bits, {quantizer.lowest} to {quantizer.highest}"
        if quantizer.bits > 1 and not _holds(packed, f"{path}.input_quantizer.step"):
            missing.append(f"{path}.input_quantizer.step")
    if missing:
        return f"it lacks {', '.join(missing[:3])}"
    return next((problem for name in packed.weights if (problem := _problem_of_weight(packed, name))), None)


def _holds(packed: PackedFile, name: str) -> bool:
    return packed.stored_name(name) in packed.tensors


def _problem_of_weight(packed: PackedFile, name: str) -> str | None:
    weight = packed.weights[name]
    codes, scale, values = (packed.tensor(f"{name}.{part}") for part in ("codes", "scale", "values"))
    if codes.dtype != torch.uint8 or tuple(codes.shape) != weight.stored_shape:
        return f"the codes of {name} are {codes.dtype} {list(codes.shape)}"
    if values.ndim != 1 or not 0 < len(values) <= 2**weight.bits:
        return f"the values of {name} have the shape {list(values.shape)}"
    fits = len(scale.shape) == len(weight.shape) and all(
        own in (1, length) for own, length in zip(scale.shape, weight.shape, strict=True)
    )
    return None if fits and scale.is_floating_point() else f"the scale of {name} has the shape {list(scale.shape)}"
