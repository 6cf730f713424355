"""How much a network's outputs move when the weights of one layer are rounded to few bits, for each layer and width.

Sensitivity, for one layer ``l`` at ``b`` bits: the float network and the network in which only the weights of ``l`` are
rounded (to the values nearest to them, scale of least squared error, which is where a search begins) see the same
samples. An output ``[samples, columns]`` with two columns or more, not all between 0 and 1 as probabilities are, is
taken for logits of classes and adds the mean over the samples of ``KL(softmax(float) || softmax(rounded))`` in nats;
any other floating-point output adds ``||rounded - float||**2 / ||float||**2`` over all samples. Batch norm takes the
statistics of each batch in both networks: the discrete network's will be recalibrated as well, so a mere shift or
factor of its channels costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nncf_slb.bits.replay import Replay
from nncf_slb.errors import SLBError
from nncf_slb.search.batches import Batches, Inputs, first_of_batch
from nncf_slb.search.batchnorm import batch_statistics, preserved_modes
from nncf_slb.search.channels import SEARCHABLE_LAYERS, channel_broadcast, channel_rows, transposed_groups
from nncf_slb.search.outputs import distance, floating_outputs
from nncf_slb.search.scale import fit_scale, nearest_values
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.values import ValueSet, ValuesName, make_values, widths_of

Sensitivities = dict[str, dict[int, float]]


class SensitivityError(SLBError, ValueError):
    """Outputs or data with which the sensitivity of a layer can't be measured."""


@dataclass(frozen=True)
class _Rounding:
    """Weights of one layer at one width; the weights are made anew for each use, the scale ``[channels]`` is kept."""

    name: str
    layer: nn.Module
    values: ValueSet
    numbers: Tensor
    scale: Tensor

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within it, the layer has the rounded weights."""
        weight: Any = self.layer.weight
        kept = weight.data
        factor = channel_broadcast(self.scale, kept.shape, transposed_groups(self.layer))
        weight.data = nearest_values(kept / factor, self.numbers).mul_(factor)
        try:
            yield
        finally:
            weight.data = kept


def _rounding(name: str, layer: nn.Module, values: ValueSet) -> _Rounding:
    weight: Any = layer.weight
    numbers = weight.new_tensor(values.table) * values.step
    rows = channel_rows(weight.detach(), transposed_groups(layer))
    return _Rounding(name, layer, values, numbers, fit_scale(rows, numbers))


@torch.no_grad()
def measure(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    values: Mapping[str, Sequence[ValueSet]],
    run_batch: Callable[[Any], Any],
    batches: Iterable[Any],
) -> Sensitivities:
    """Measure layers one at a time; costs, for each layer, width and batch, a pass through what comes behind the layer.

    Args:
        model: Float network in any mode; left as it was.
        layers: Layers of the model by name, with a float ``weight``.
        values: For each of these names, the sets of values to try, of different bits.
        run_batch: Runs the model on one item of `batches` and gives its output, tensors in any nesting.
        batches: Input batches; under `torch.distributed`, each process gives its own and the results are averaged.

    Returns:
        For each name, sensitivity by bits (no unit, or nats; 0 where nothing moves).

    Raises:
        SensitivityError: Without batches, without a floating-point output, or if the shape of an output depends on the
            weights or an output is not finite.
    """
    roundings = [_rounding(name, layer, value_set) for name, layer in layers.items() for value_set in values[name]]
    total: Tensor | None = None
    with preserved_modes(model):
        model.eval()
        with batch_statistics(model):
            replay = Replay(model)
            for batch in batches:
                with replay.recording():
                    reference = _floating(run_batch(batch))
                moved = []
                for rounding in roundings:
                    with rounding.in_use(), replay.until(rounding.layer):
                        moved.append(_moved(reference, _floating(run_batch(batch)), rounding))
                table = torch.stack(moved) if moved else torch.zeros(0, len(reference), 2)
                total = table if total is None else total + table
    if total is None:
        raise SensitivityError("the data loader gives no batch, so the sensitivity of the layers can't be measured")
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
    measured = (total[..., 0] / total[..., 1].clamp_min(1e-30)).sum(dim=1).tolist()
    result: Sensitivities = {name: {} for name in layers}
    for rounding, number in zip(roundings, measured, strict=True):
        result[rounding.name][rounding.values.bits] = number
    return result


def _floating(output: Any) -> list[Tensor]:
    tensors = floating_outputs(output)
    if not tensors:
        raise SensitivityError(
            f"the network gives {type(output).__name__} without a floating-point tensor, so how far its outputs move "
            "can't be measured"
        )
    return tensors


def _moved(reference: list[Tensor], rounded: list[Tensor], rounding: _Rounding) -> Tensor:
    """For each output, what it moved and what that is relative to, float64 ``[outputs, 2]``."""
    if [x.shape for x in rounded] != [x.shape for x in reference]:
        raise SensitivityError(
            f"the shape of the network's outputs depends on the weights of {rounding.name}, so they can't be compared"
        )
    moved = torch.stack([distance(a.double(), b.double()) for a, b in zip(reference, rounded, strict=True)])
    if not bool(moved.isfinite().all()):
        raise SensitivityError(
            f"the network's outputs are not finite, as they are or with {rounding.values.bits}-bit weights in "
            f"{rounding.name}. Load trained weights, or leave the layer out"
        )
    return moved


def measure_sensitivity(
    model: nn.Module,
    loader: Any,
    *,
    values: ValuesName = "uniform",
    candidates: Sequence[int] | None = None,
    samples: int = 512,
    inputs: Inputs = first_of_batch,
) -> Sensitivities:
    """Measure how far a float network's outputs move when one layer's weights are rounded, as ``"bits": "auto"`` does.

    Args:
        model: Trained float network, before it is searched; left as it was.
        loader: Data loader; of its batches (inputs, labels) only the inputs are used.
        values: Name of a set of values, as in the config.
        candidates: Bits to try; by default all that the values can have: 1 to 4, but 2 to 4 for ``zero_centered`` and 2
            for ``ternary``.
        samples: Samples to measure with, rounded up to whole batches.
        inputs: Positional and keyword arguments of the network from a batch of another kind.

    Returns:
        For each convolution and Linear layer by its path in the model, sensitivity by bits: the mean KL divergence of
        the predicted classes in nats for outputs ``[samples, classes]``, else the relative squared error (see
        `nncf_slb.bits.sensitivity`). Layers that share a parameter appear once, under the first one's name.

    Raises:
        TypeError: If the model's weights are already being searched.
        ValueError: On an unknown name of values, or bits that they cannot have.
        SensitivityError: If nothing can be measured with this network and loader.

    Example:
        >>> measure_sensitivity(resnet, train_loader)["layer1.0.conv1"]  # doctest: +SKIP
        {1: 0.081, 2: 0.012, 3: 0.0021, 4: 0.0005}
    """
    if any(isinstance(module, SearchableWeight) for module in model.modules()):
        raise TypeError("model: its weights are already being searched; allowed is a float network. Pass it before "
                        "it is searched, or read the statistics of the search")  # fmt: skip
    layers: dict[int, tuple[str, nn.Module]] = {}
    for name, module in model.named_modules():
        if isinstance(module, SEARCHABLE_LAYERS) and "weight" in module._parameters:
            layers.setdefault(id(module.weight), (name, module))
    sets = _value_sets(values, widths_of(values) if candidates is None else candidates)
    batches = Batches(loader, inputs, getattr(loader, "batch_size", None))
    modules = dict(layers.values())
    return measure(model, modules, dict.fromkeys(modules, sets), batches.runner(model), batches.take_samples(samples))


def _value_sets(values: ValuesName, candidates: Sequence[int]) -> list[ValueSet]:
    allowed = widths_of(values)
    if not candidates or not set(candidates) <= set(allowed):
        raise ValueError(
            f"candidates: received {list(candidates)}; allowed with {values} values: some of {list(allowed)}. Leave "
            "candidates out to try all of these, or choose other values"
        )
    return [make_values(values, bits) for bits in candidates]
