"""What a search of a network will be and take: it is built, run for a few steps and exported, then thrown away."""

from __future__ import annotations

import copy
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from nncf_slb.config.section import find_slb_sections
from nncf_slb.errors import SettingError, SLBError, printable
from nncf_slb.hosts.compression import parse_compression, read_whole_config
from nncf_slb.hosts.copying import copied
from nncf_slb.hosts.create import create_compressed_model
from nncf_slb.hosts.exporting import export_openvino
from nncf_slb.hosts.inputs import Data, first_batch
from nncf_slb.hosts.resuming import plain_path
from nncf_slb.openvino.call_form import Arguments
from nncf_slb.search.batches import Batches, Inputs, first_of_batch
from nncf_slb.search.batchnorm import preserved_modes
from nncf_slb.search.descent import GradientDescent
from nncf_slb.search.searchable import SearchableWeight, searchable_weights
from nncf_slb.search.statistics import SearchStatistics
from nncf_slb.tables import terminal_table

_MIB = 2**20
_STEPS = 3
_FLOAT_BYTES = 4
_NOISE_BATCHES = 4
_LARGEST_BATCH = 32  # of noise, unless input_info asks for more
_SMALLEST_BATCH = 2  # that batch norm trains on wherever it stands
_BY_CONFIG = "the config's scopes or edges leave it out"


@dataclass(frozen=True)
class LayerForecast:
    """One layer with weights.

    Attributes:
        name: Path in the torch model; empty for the network itself.
        state: ``searched``, ``8 bits`` (first and last layers), or ``left`` in full precision.
        bits: Bits of one weight.
        weights: Number of weights; None where the name is that of a function.
        bytes: Bytes of the weights: codes, packed, where there are some.
        why: Why it is not searched; empty where it is.
    """

    name: str
    state: Literal["searched", "8 bits", "left"]
    bits: int
    weights: int | None
    bytes: int | None
    why: str


@dataclass(frozen=True)
class Forecast:
    """What a search is and takes.

    Attributes:
        layers: Layers with weights, in the order of the network's modules.
        bits_are_measured_on_noise: Whether bits that say ``auto`` were chosen with noise, for want of data.
        float_bytes: Memory that training the float network takes: weights, gradients and Adam's two means. What
            layers keep for their gradients comes on top, with and without a search.
        kept_bytes: Memory that the search keeps beyond that as long as it lives: means of the latents, or logits with
            their gradients and Adam's means.
        pass_bytes: Memory beyond that from a training pass to its gradients: the weights that it uses, and with
            gradient descent their probabilities.
        batch: Shapes of the tensors that a step was measured with.
        device: Device of the network.
        float_milliseconds: Of one step of the float network: forward, backward, Adam. Median of a few.
        search_milliseconds: The same of the searched network, in the phase of the first epoch.
        ir_bytes: Bytes of the ``.bin`` that an export would write now.
    """

    layers: tuple[LayerForecast, ...]
    bits_are_measured_on_noise: bool
    float_bytes: int
    kept_bytes: int
    pass_bytes: int
    batch: tuple[tuple[int, ...], ...]
    device: str
    float_milliseconds: float
    search_milliseconds: float
    ir_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        return dataclasses.asdict(self)

    def to_str(self) -> str:
        """Table and sentences for the terminal."""
        rows = [
            [
                layer.name or "the network",
                layer.state,
                layer.bits,
                _number(layer.weights),
                _number(layer.bytes),
                layer.why,
            ]
            for layer in self.layers
        ]
        shapes = " and ".join("x".join(map(str, shape)) for shape in self.batch)
        ratio = self.search_milliseconds / max(1e-9, self.float_milliseconds)
        lines = [
            terminal_table(["layer", "state", "bits", "weights", "bytes", "why"], rows, "llrrrw"),
            f"memory: float training {_size(self.float_bytes)} (weights, gradients, Adam) and activations;",
            f"  the search keeps {_size(self.kept_bytes)} more, and takes {_size(self.pass_bytes)} more in a step",
            f"time of a step ({shapes}, {self.device}): float {self.float_milliseconds:,.1f} ms, "
            f"search {self.search_milliseconds:,.1f} ms ({ratio:.2f} times)",
            f"IR: {self.ir_bytes:,} bytes (.bin)",
        ]
        if self.bits_are_measured_on_noise:
            lines.append("bits: chosen with noise; yours will differ. Let the function return (network, batches)")
        return "\n".join(lines)


def forecast(model: nn.Module, config: Mapping[str, Any], batches: Iterable[Any] | None = None) -> Forecast:
    """Build the search of a config, run a few steps of it, export it, and tell what came of it.

    Args:
        model: Float network, which stays as it is.
        config: NNCF config with an slb section.
        batches: Training batches. Without them, ``input_info`` gives shapes, which noise fills.

    Raises:
        nncf_slb.errors.SLBError: As `create_compressed_model` and `export_openvino` do.
        SettingError: If the network does not train on its inputs.
    """
    config = _without_reconstruction(read_whole_config(config))
    inputs: Inputs = _of_batch if batches is not None else _as_it_is
    loader = batches if batches is not None else [_noise(config)] * _NOISE_BATCHES
    example = inputs(first_batch(Batches(loader, inputs)))
    with torch.random.fork_rng(), preserved_modes(model):
        plain = copied(model)
        float_time = _milliseconds(plain, example)
        ctrl, network = create_compressed_model(copied(model), config, loader, inputs=inputs)
        found: SearchStatistics = ctrl.statistics().slb
        kept, during = _memory(searchable_weights(network))
        size = _ir_bytes(ctrl)
        ctrl.scheduler.epoch_step()
        search_time = _milliseconds(network, example, ctrl)
    return Forecast(
        tuple(_layers(found, plain)), bool(found.sensitivities) and batches is None,
        4 * sum(p.nbytes for p in plain.parameters()), kept, during,
        tuple(tuple(x.shape) for x in tree_leaves(example) if isinstance(x, Tensor)), str(_device(plain)),
        float_time, search_time, size,
    )  # fmt: skip


def _of_batch(batch: Any) -> Arguments:
    """As by default, for NNCF too, whose own way takes no bare tensors."""
    return first_of_batch(batch)


def _as_it_is(batch: Arguments) -> Arguments:
    return batch


def _noise(config: Mapping[str, Any]) -> Arguments:
    """Arguments with the shapes of ``input_info``: normal noise, and whole numbers as they are."""
    compression = parse_compression(config, "torch", _names(config))
    if not compression.input_info:
        raise SettingError(
            'input_info: received none; allowed: the shape of the inputs, such as {"sample_size": [1, 3, 224, 224]}. '
            "Add it, or let the function return (network, batches)"
        )
    example = Data.of(None, first_of_batch, None, compression).example
    first = next(x.shape[0] for x in tree_leaves(example) if isinstance(x, Tensor) and x.dim())
    batch = min(config.get("batch_size") or max(_SMALLEST_BATCH, first), max(_LARGEST_BATCH, first))

    def noisy(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if x.dim() and x.shape[0] == first:
            x = x[:1].expand(batch, *x.shape[1:])
        return torch.randn_like(x) if x.is_floating_point() else x.contiguous()

    made: Arguments = tree_map(noisy, example)
    return made


def _names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Algorithms that a config names; which of them a host knows, it says itself."""
    sections = config.get("compression")
    listed = sections if isinstance(sections, list | tuple) else [sections]
    return tuple(str(section.get("algorithm")) for section in listed if isinstance(section, Mapping))


def _without_reconstruction(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without the search without labels at its start, which takes a minute and changes no size."""
    whole = copy.deepcopy(dict(config))
    for _, section in find_slb_sections(whole):
        initializer = section.get("initializer")
        if isinstance(initializer, dict):
            initializer.pop("reconstruction", None)
    return whole


def _layers(found: SearchStatistics, model: nn.Module) -> list[LayerForecast]:
    """All layers with weights, in the order of the network's modules."""

    def path_of(name: str) -> str:
        return "" if name == type(model).__name__ else plain_path(name)  # as NNCF calls the network itself

    left = {path_of(name): found.left_out.get(name, _BY_CONFIG) for name in found.full_precision_layers}
    eight_bits = [path_of(name) for name in found.eight_bit_layers]
    layers = [LayerForecast(path_of(x.name), "searched", x.bits, x.weights, x.bytes, "") for x in found.layers]
    listed = [*(layer.name for layer in layers), *eight_bits, *left]
    for path in eight_bits:
        count = _count(model, path, listed)
        layers.append(LayerForecast(path, "8 bits", 8, count, count, "first or last layer"))
    for path, why in left.items():
        count = _count(model, path, listed)
        layers.append(LayerForecast(path, "left", 32, count, None if count is None else _FLOAT_BYTES * count, why))
    order = {path: index for index, (path, _) in enumerate(model.named_modules())}
    return sorted(layers, key=lambda layer: order.get(layer.name, len(order)))


def _count(model: nn.Module, path: str, listed: Iterable[str]) -> int | None:
    """Numbers in the matrices of a module, without those of listed modules inside it; None where there is none."""
    modules = dict(model.named_modules())
    if path not in modules:
        return None
    start = f"{path}." if path else ""
    inside = [modules[other] for other in listed if other != path and other.startswith(start) and other in modules]
    elsewhere = {id(parameter) for module in inside for parameter in module.parameters()}
    matrices = (p for p in modules[path].parameters() if p.dim() > 1 and id(p) not in elsewhere)
    return sum(p.numel() for p in matrices) or None


def _memory(weights: list[SearchableWeight]) -> tuple[int, int]:
    """Bytes that a search keeps, and those of a training step."""
    kept = during = 0
    for weight in weights:
        size = weight.weight_shape.numel() * weight.value_table.element_size()
        if isinstance(weight.descent, GradientDescent):
            logits = weight.descent.logits.nbytes
            kept, during = kept + 4 * logits - 3 * size, during + logits + 2 * size
        else:
            kept, during = kept + sum(b.nbytes for b in weight.descent.buffers()), during + size
    return kept, during


def _ir_bytes(ctrl: Any) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return export_openvino(ctrl, Path(folder) / "model.xml").with_suffix(".bin").stat().st_size


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _milliseconds(model: nn.Module, example: Arguments, ctrl: Any = None) -> float:
    """Median time of a training step: forward, backward and Adam, without the first one, which warms up."""
    device = _device(model)
    args, kwargs = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, example)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.0)
    model.train()

    def step() -> None:
        if ctrl is not None:
            ctrl.scheduler.step()
        optimizer.zero_grad()
        outputs = [x for x in tree_leaves(model(*args, **kwargs)) if isinstance(x, Tensor) and x.is_floating_point()]
        loss = sum((x.square().mean() for x in outputs), torch.zeros((), device=device))
        (loss if ctrl is None else loss + ctrl.loss()).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    try:
        times = [_timed(step) for _ in range(1 + _STEPS)]
    except SLBError:
        raise
    except Exception as error:  # whatever the user's network raises
        raise SettingError(
            f"input_info: the network does not train on it ({type(error).__name__}: {printable(error)}); give what the "
            'network takes, such as "type": "long" for whole numbers, or let the function return (network, batches)'
        ) from error
    return statistics.median(times[1:])


def _timed(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return (time.perf_counter() - start) * 1e3


def _size(count: float) -> str:
    return f"{count / _MIB:,.1f} MiB" if count >= _MIB else f"{count / 1024:,.1f} KiB"


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
