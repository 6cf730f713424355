"""Batch norm statistics of the discrete network (paper, section 3.3, "state batch normalization").

The outputs of expected and of chosen weights have different statistics. `calibrate` recomputes the running
statistics by averaging over batches, as the authors' later code does; `TwoStates` keeps both kinds during training
as in the paper.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nncf_slb.search.batches import count
from nncf_slb.search.finite import NotFiniteError
from nncf_slb.search.hooks import hooked
from nncf_slb.search.processes import average_, ranks_with

STATISTICS = ("running_mean", "running_var")


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Batch norm layers of a model that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@contextmanager
def preserved_modes(model: nn.Module) -> Iterator[None]:
    """Restore every module's training flag and the random states (torch on CPU and current GPU, Python) on leaving."""
    modes = {module: module.training for module in model.modules()}
    python_state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else []):
            yield
    finally:
        random.setstate(python_state)
        for module, training in modes.items():
            module.training = training


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Within it, batch norm uses the statistics of each batch and leaves its running ones as they are."""
    layers = batch_norms(model)
    kept = [(layer.training, layer.momentum, layer.num_batches_tracked) for layer in layers]
    try:
        for layer in layers:
            layer.training, layer.momentum, layer.num_batches_tracked = True, 0.0, None
        yield
    finally:
        for layer, before in zip(layers, kept, strict=True):
            layer.training, layer.momentum, layer.num_batches_tracked = before


@torch.no_grad()
def calibrate(model: nn.Module, run_batch: Callable[[object], object], batches: Iterable[object]) -> int:
    """Replace the running statistics by those seen with the model's eval-mode (discrete) weights.

    They are the mean over the batches, each by its number of samples (`nncf_slb.search.batches.count`).

    Args:
        model: Model to calibrate; every training flag is restored.
        run_batch: Runs the model on one item of `batches`.
        batches: Input batches; under `torch.distributed`, each process gives its own and the results are averaged over
            those that have some.

    Returns:
        Number of batches used by this process: 0 for a model without batch norm. With 0 everywhere, and after an
        exception, the statistics stay as they were.

    Raises:
        nncf_slb.search.finite.NotFiniteError: If the batches give statistics that are not finite, naming the layers.
    """
    layers = batch_norms(model)
    if not layers:
        return 0
    kept = {layer: (layer.momentum, layer.num_batches_tracked) for layer in layers}
    seen = dict[_BatchNorm, int]()
    with replaced_statistics(model) as batches_used:
        try:
            with preserved_modes(model):
                model.eval()
                for layer in layers:
                    assert layer.running_mean is not None
                    layer.num_batches_tracked = torch.tensor(0, device=layer.running_mean.device)  # reset is in place
                    layer.reset_running_stats()
                    layer.momentum = None  # cumulative mean
                    layer.training = True
                first = 0
                for batch in batches:
                    samples = count(batch) or 1
                    first = first or samples
                    if not seen and samples != first:
                        seen = {layer: first * int(cast(Tensor, layer.num_batches_tracked)) for layer in layers}
                    with _weighted(seen, samples) if seen else nullcontext():
                        run_batch(batch)
                    batches_used.append(samples)
        finally:
            for layer in layers:
                layer.momentum, layer.num_batches_tracked = kept[layer]
    return len(batches_used)


@contextmanager
def _weighted(seen: dict[_BatchNorm, int], samples: int) -> Iterator[None]:
    """Within it, a batch changes running means by its share of all samples that a layer has seen.

    A layer that runs twice in a pass sees them twice.
    """

    def weigh(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _BatchNorm)
        seen[layer] += samples
        layer.momentum = samples / seen[layer]

    with hooked(layer.register_forward_pre_hook(weigh) for layer in seen):
        yield


@contextmanager
def replaced_statistics(model: nn.Module) -> Iterator[list[int]]:
    """Within it, running statistics are replaced by those of batches, whose samples go onto the list.

    With no batch, and after an exception, the statistics are as before. Processes that train together take the mean
    over those that had batches.

    Raises:
        nncf_slb.search.finite.NotFiniteError: If the new statistics are not finite, naming the layers.
    """
    before = {layer: [getattr(layer, name).clone() for name in STATISTICS] for layer in batch_norms(model)}
    used: list[int] = []
    is_done = False
    try:
        yield used
        is_done = bool(used)
    finally:
        if not is_done:
            _restore(before)
    if ranks := ranks_with(bool(used), next(iter(before.values()))[0].device):
        for layer in before:
            for name in STATISTICS:
                average_(getattr(layer, name), ranks)
    _refuse_not_finite(model, before)


def _restore(before: dict[_BatchNorm, list[Tensor]]) -> None:
    for layer, former in before.items():
        for name, old in zip(STATISTICS, former, strict=True):
            getattr(layer, name).copy_(old)


def _refuse_not_finite(model: nn.Module, before: dict[_BatchNorm, list[Tensor]]) -> None:
    """Give all layers their former statistics, and say which, where calibration gave some a NaN or an infinity."""
    wrong = [
        path
        for path, layer in model.named_modules()
        if layer in before and not all(bool(getattr(layer, name).isfinite().all()) for name in STATISTICS)
    ]
    if not wrong:
        return
    _restore(before)
    raise NotFiniteError(
        f"calibration of batch norm gave numbers that are not finite (NaN or infinity) in {', '.join(wrong)}, so the "
        "statistics stay as they were. Look for such numbers in the batches of the registered data loader, and in the "
        "weights"
    )


class TwoStates:
    """Running statistics of the searched and of the discrete network, one set active at a time.

    The inactive set lives in buffers ``inactive_running_mean`` and ``inactive_running_var`` of each batch norm layer
    and a flag ``discrete_active`` says which set is active, so that checkpoints hold both. Affine parameters are
    shared.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = batch_norms(model)
        for layer in self._layers:
            for name in STATISTICS:
                layer.register_buffer(f"inactive_{name}", getattr(layer, name).clone())
            layer.register_buffer("discrete_active", torch.tensor(0.0))  # a float, as averages of networks need

    @classmethod
    def of_copy(cls, model: nn.Module) -> TwoStates:
        """Those that a copied model brings along."""
        states = cls.__new__(cls)
        states._layers = batch_norms(model)
        return states

    @property
    def discrete_active(self) -> bool:
        """True while the statistics of the discrete network are the active ones."""
        return any(bool(layer.discrete_active) for layer in self._layers)

    def activate(self, discrete: bool) -> None:
        """Make the statistics of the discrete (True) or of the searched (False) network the active ones."""
        for layer in self._layers:
            flag: Tensor = layer.discrete_active  # type: ignore[assignment]
            if bool(flag) != discrete:
                buffers = layer._buffers
                for name in STATISTICS:  # exchanged, not copied: a backward pass may still hold these tensors
                    other = f"inactive_{name}"
                    buffers[name], buffers[other] = buffers[other], buffers[name]
                flag.fill_(discrete)

    @staticmethod
    def remove(model: nn.Module) -> None:
        """Drop the second set from a model's layers, keeping the statistics of the discrete network."""
        for layer in batch_norms(model):
            if "discrete_active" in layer._buffers:
                if not bool(layer.discrete_active):
                    for name in STATISTICS:
                        getattr(layer, name).copy_(getattr(layer, f"inactive_{name}"))
                for name in (*(f"inactive_{n}" for n in STATISTICS), "discrete_active"):
                    del layer._buffers[name]
