"""Checkpoints of stripped networks that stay packed: 1 to 4 bits a weight, no pickle, no code of the search."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from nncf_slb.search.fast_path import run_all_layers_
from nncf_slb.search.packed_file import CheckpointError, PackedFile, Packing, read_packed, write_tensors
from nncf_slb.search.runtime import (
    CODED,
    CODED_WEIGHT,
    CodedWeight,
    Codes,
    FixedActivation,
    FixedWeight,
    code_parameter_,
    coded_weights,
    is_layer,
    make_low_bit_,
)

_QUANTIZER = "input_quantizer"
_SHOWN = 5


def save_packed(stripped: nn.Module, path: str | Path) -> Path:
    """Write a stripped network with 1, 2, 3 or 4 bits a code.

    Args:
        stripped: What ``ctrl.strip()`` returned, in any mode; stays as it is.
        path: ``.safetensors`` file. Folders are made; an existing file is replaced only once the new one is complete.

    Returns:
        The path written.

    Raises:
        CheckpointError: If the network has no coded weights, or parts that a file of layers cannot hold; on another
            suffix; or if the file cannot be written.
    """
    target = Path(path)
    if not isinstance(stripped, nn.Module):
        raise CheckpointError(
            f"stripped: received {type(stripped).__name__}; allowed is a stripped network. Pass what strip() returned"
        )
    network = _without_wrapper(stripped)
    if not coded_weights(network):
        raise CheckpointError(
            f"stripped: received {type(network).__name__} without searched weights; pass what strip() returned, or "
            "save the state dict of a float network"
        )
    packing, done = Packing(), set[str]()
    for name, module, parts in _parts(network):
        done |= parts
        if isinstance(module, CodedWeight):
            packing.add_weight(name, Codes(module.codes, module.values, module.scale.detach(), module.bits))
        else:
            packing.add_quantizer(name, module)
    for name, tensor in network.state_dict().items():
        if name not in done:
            if not isinstance(tensor, Tensor):
                raise CheckpointError(f"stripped: {name} is {type(tensor).__name__}; a packed file holds tensors only")
            packing.add_tensor(name, tensor)
    packing.write(target)
    return target


def load_packed(model: nn.Module, path: str | Path) -> nn.Module:
    """Turn a float network into the low-bit one that a file holds, in place: same outputs as the stripped network's.

    Args:
        model: Network of the architecture that was searched, with any numbers; keeps its device and its mode (call
            ``eval()`` for inference).
        path: File that `save_packed` wrote.

    Returns:
        The model.

    Raises:
        CheckpointError: If the file cannot be used or holds another network; the model is as it was then.
    """
    file = read_packed(path)
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"model: received {type(model).__name__}; allowed is a torch module")
    network = _without_wrapper(model)
    expected = network.state_dict(keep_vars=True)
    others = file.others()
    problems = [
        *_names_that_differ(network, expected, file, others),
        *_kinds_that_differ(network, expected, file, others),
    ]
    if problems:
        raise CheckpointError(f"{file.path} does not fit the model:\n  " + "\n  ".join(problems))
    codes = {name: file.codes(name) for name in file.weights}  # all, before anything changes
    try:
        network.load_state_dict({name: file.tensors[stored] for name, stored in others.items()}, strict=False)
    except RuntimeError as error:  # from a method of the network's own
        raise CheckpointError(f"{file.path}: the model refuses its tensors ({error})") from error
    quantizers: dict[str, FixedActivation] = {}
    for name, coded in codes.items():
        _replace(network, name, coded, file, quantizers)
    run_all_layers_(network)
    return model


def unpack(path: str | Path, target: str | Path) -> Path:
    """Write the float weights of a packed checkpoint as a state dict in safetensors, without quantizers of inputs.

    Args:
        path: File that `save_packed` wrote.
        target: ``.safetensors`` file to write; the names are those of the float network.

    Returns:
        The path written.

    Raises:
        CheckpointError: If a file cannot be used or written.
    """
    file = read_packed(path)
    tensors = {name: file.tensors[stored].clone() for name, stored in file.others().items()}
    tensors |= {name: FixedWeight(file.codes(name)).decode().detach().clone() for name in file.weights}
    write_tensors(Path(target), tensors)
    return Path(target)


def _without_wrapper(network: nn.Module) -> nn.Module:
    """The network in what PyTorch puts around one to compile it or to train in parallel."""
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif type(network).__name__ == "OptimizedModule":  # torch.compile's; naming its class would load the compiler
            network = cast(nn.Module, network._orig_mod)
        else:
            return network


def _parts(network: nn.Module) -> Iterator[tuple[str, Any, set[str]]]:
    """Coded weights by their parameters' names, and quantizers by their layers' paths, each with the names of its own
    tensors in the network's state dict.

    Raises:
        CheckpointError: If a tool has put one elsewhere, or has replaced the network's ``forward``.
    """
    elsewhere = [""] if "forward" in network.__dict__ else []
    for path, module in network.named_modules(remove_duplicate=False):
        owner, _, last = path.rpartition(".")
        if isinstance(module, FixedActivation):
            if last != _QUANTIZER:
                elsewhere.append(path)
            yield owner, module, {f"{path}.step"}
        elif isinstance(module, CodedWeight):
            parameter = _parameter_of(network, path, module)
            if parameter is None:
                elsewhere.append(path)
                continue
            prefix = f"{path}.".lstrip(".")
            yield parameter, module, {f"{prefix}{part}" for part in ("codes", "scale", "values")}
    if elsewhere:
        places = ", ".join(path or "the network's forward" for path in elsewhere[:_SHOWN])
        raise CheckpointError(
            f"stripped: other tools compute with parts of it ({places}), and a packed file holds layers only. Search "
            "without another quantization, or export the network instead"
        )


def _parameter_of(network: nn.Module, path: str, module: CodedWeight) -> str | None:
    """Name of the parameter that a module's codes stand for; None if the module is in no place known here."""
    if not isinstance(module, FixedWeight):
        return f"{path}.weight".lstrip(".")
    owner, dot, last = path.rpartition(".")
    if last == CODED_WEIGHT and is_layer(network.get_submodule(owner)):
        return f"{owner}{dot}weight"
    name = last.removeprefix(CODED)
    return f"{owner}{dot}{name}" if name != last and hasattr(network.get_submodule(owner), name) else None


def _names_that_differ(
    network: nn.Module, expected: dict[str, Any], file: PackedFile, others: dict[str, str]
) -> Iterator[str]:
    if coded_weights(network):
        yield "the model is a low-bit network already; pass the float architecture"
        return
    held = {*others, *file.weights}
    missing = [name for name, tensor in expected.items() if name not in held]
    surplus = [name for name in held if name not in expected]
    if missing:
        yield f"the file lacks {_some(missing)}"
    if surplus:
        yield f"the model lacks {_some(sorted(surplus))}"
    strange = [path for path in file.quantizers if f"{path}.weight".lstrip(".") not in file.weights]
    if strange:
        yield f"the file quantizes inputs of layers without low-bit weights: {_some(strange)}"


def _kinds_that_differ(
    network: nn.Module, expected: dict[str, Any], file: PackedFile, others: dict[str, str]
) -> Iterator[str]:
    """Shapes, types, places and sharing, for names that both have."""
    stored_by_tensor: defaultdict[tuple[int, bool], set[str]] = defaultdict(set)
    for name, tensor in expected.items():
        if not isinstance(tensor, Tensor) or name not in {*others, *file.weights}:
            continue
        if nn.parameter.is_lazy(tensor) or tensor.is_meta:
            yield f"{name} has no numbers yet in the model; call the model once, or its to_empty(device='cpu'), before"
            continue
        held_shape, held_type = _shape_and_type(file, name, others)
        if tuple(tensor.shape) != held_shape or tensor.dtype != held_type:
            yield (
                f"{name} is {_kind(tensor.dtype, tensor.shape)} in the model and {_kind(held_type, held_shape)} in the "
                "file"
            )
        elif name in file.weights and not _is_parameter(network, name):
            yield f"{name} is no parameter of the model; take its parametrization off"
        coded = name in file.weights  # of a tensor that layers share, some may be searched
        stored_by_tensor[id(tensor), coded].add(file.stored_name(f"{name}.codes" if coded else name))
    for stored in stored_by_tensor.values():
        if len(stored) > 1:
            yield f"the model has one tensor for {_some(sorted(stored))}, which differ in the file"


def _shape_and_type(file: PackedFile, name: str, others: dict[str, str]) -> tuple[tuple[int, ...], torch.dtype]:
    if name in file.weights:
        return file.weights[name].shape, file.tensor(f"{name}.scale").dtype
    tensor = file.tensors[others[name]]
    return tuple(tensor.shape), tensor.dtype


def _kind(dtype: torch.dtype, shape: Sequence[int]) -> str:
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}"


def _is_parameter(network: nn.Module, name: str) -> bool:
    owner, _, last = name.rpartition(".")
    try:
        return last in network.get_submodule(owner)._parameters
    except AttributeError:  # a name that the network gives its state dict only
        return False


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _replace(
    network: nn.Module, name: str, coded: Codes, file: PackedFile, quantizers: dict[str, FixedActivation]
) -> None:
    """Put codes in the place of a parameter, and a quantizer before its layer."""
    path, _, parameter = name.rpartition(".")
    owner = network.get_submodule(path)
    held = owner._parameters.get(parameter)
    if held is None:  # the same module under another path
        return
    device = held.device
    coded = Codes(coded.codes.to(device), coded.values.to(device), coded.scale.to(device), coded.bits)
    if parameter == "weight" and is_layer(owner):
        activation = None
        if path in file.quantizers:
            stored = file.stored_name(f"{path}.{_QUANTIZER}.step")
            activation = quantizers.setdefault(f"{stored} {file.quantizers[path]}", file.quantizer(path))
            activation.to(device)
        make_low_bit_(owner, coded, activation)
    else:
        code_parameter_(owner, parameter, coded)
