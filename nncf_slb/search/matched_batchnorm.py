"""Batch norm of a searched network, matched to that of the float network on the same samples.

The running statistics of a float network come from all of its training. A search has few samples, in small batches,
and theirs are others: calibration with 2,000 images alone moves the float network of small ResNet on Fashion-MNIST
0.0019 nats from itself, more than 4 bits do. So the searched network's statistics are taken beside the float network's
own on the same samples. In both networks the outputs of a batch norm have the same mean and variance then, in each
channel, and equal networks give equal outputs, whatever the samples. Steps of 8 images (same network, W4A32, 600 of
them): 0.0016 nats from the float network, and 0.0140 with the statistics of each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nncf_slb.search.batches import count
from nncf_slb.search.batchnorm import batch_norms, preserved_modes, replaced_statistics
from nncf_slb.search.hooks import hooked


class _Moments(NamedTuple):
    """Mean and variance of each channel ``[channels]``."""

    mean: Tensor
    variance: Tensor


def _moments(x: Tensor) -> _Moments:
    return _Moments(*(each.float() for each in torch.batch_norm_update_stats(x.detach(), None, None, 0.0)))


class _Pairs:
    """Batch norms of two networks by path, and what those of the target have seen in its last pass."""

    def __init__(self, searched: nn.Module, target: nn.Module) -> None:
        of_target, wanted = dict(target.named_modules()), set(batch_norms(target))
        self.target_of = {
            layer: of_target[path]
            for path, layer in searched.named_modules()
            if layer in set(batch_norms(searched)) and of_target.get(path) in wanted
        }
        self._seen: dict[nn.Module, list[_Moments]] = {}
        self._calls: dict[nn.Module, int] = {}

    def forget(self) -> None:
        """Before the next batch."""
        self._seen.clear()
        self._calls.clear()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Within it, passes of the target are recorded."""

        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._seen.setdefault(layer, []).append(_moments(inputs[0]))

        with hooked(layer.register_forward_pre_hook(hook) for layer in self.target_of.values()):
            yield

    def next_of_target(self, layer: nn.Module) -> _Moments | None:
        """What the target saw where this layer runs now; None where the target did not run it.

        A pass that runs a second time, for its gradients (`torch.utils.checkpoint`), begins from the front.
        """
        seen, call = self._seen.get(self.target_of[layer], []), self._calls.get(layer, 0)
        self._calls[layer] = call + 1
        return seen[call % len(seen)] if seen else None


@contextmanager
def matched_batch_norm(searched: nn.Module, target: nn.Module) -> Iterator[None]:
    """For one pass of the target and then one of the searched network, with its backward pass, on the same batch.

    Batch norms of `searched`, in training mode, normalize by the batch. What follows turns the result into outputs with
    the mean and variance of the target's. Each layer's own weights and biases get their gradients as ever.

    Args:
        searched: Network in training mode.
        target: Network with batch norms of the same paths, in eval mode.
    """
    pairs = _Pairs(searched, target)
    own: dict[nn.Module, dict[str, nn.Parameter | None]] = {}

    def before(layer: nn.Module, _: Any) -> None:
        wanted, theirs = pairs.next_of_target(layer), pairs.target_of[layer]
        if wanted is None or not isinstance(theirs, _BatchNorm) or not isinstance(layer, _BatchNorm):
            return
        assert theirs.running_mean is not None and theirs.running_var is not None
        variance = theirs.running_var + theirs.eps
        scale, offset = ((wanted.variance + theirs.eps) / variance).sqrt(), wanted.mean - theirs.running_mean
        offset = offset * variance.rsqrt()
        weight, bias = layer.weight, layer.bias
        own[layer] = {"weight": weight, "bias": bias}
        # For this call alone: what a hook puts there needs no copy of the layer's outputs.
        layer._parameters["weight"] = scale if weight is None else weight * scale  # type: ignore[assignment]
        offset = offset if weight is None else weight * offset
        layer._parameters["bias"] = offset if bias is None else bias + offset  # type: ignore[assignment]

    def after(layer: nn.Module, *_: Any) -> None:
        layer._parameters.update(own.pop(layer, {}))

    with pairs.recorded(), hooked(_around(pairs.target_of, before, after)):
        try:
            yield
        finally:
            for layer in list(own):
                after(layer)


def matched_runner(
    searched: nn.Module, target: nn.Module, run: Callable[[nn.Module, Any], object]
) -> Callable[[Any], None]:
    """Function that runs both networks on a batch, batch norm matched.

    Args:
        searched: Network with its batch norms in training mode.
        target: Network with batch norms of the same paths, in eval mode.
        run: Runs a network on a batch.
    """

    def run_both(batch: Any) -> None:
        with matched_batch_norm(searched, target):
            run(target, batch)
            run(searched, batch)

    return run_both


def _around(layers: Iterable[nn.Module], before: Callable[..., None], after: Callable[..., None]) -> Iterator[Any]:
    for layer in layers:
        if {"weight", "bias"} <= layer._parameters.keys():  # neither is parametrized
            yield layer.register_forward_pre_hook(before)
            yield layer.register_forward_hook(after)


@torch.no_grad()
def calibrate_to_target(
    searched: nn.Module, target: nn.Module, run: Callable[[nn.Module, Any], object], batches: Iterable[Any]
) -> int:
    """Give batch norm of a discrete network the statistics with which its outputs are as the target's.

    Both networks run in eval mode on the same batches. Moments are means over these, each by its number of samples
    (`nncf_slb.search.batches.count`).

    Args:
        searched: Network to calibrate; every training flag is restored.
        target: Network in eval mode with batch norms of the same paths.
        run: Runs a network on a batch.
        batches: Input batches; under `torch.distributed`, each process gives its own and the results are averaged over
            those that have some.

    Returns:
        Number of batches used by this process: 0 for a network without batch norm. With 0 everywhere, and after an
        exception, the statistics stay as they were, as they do in layers that do not run.

    Raises:
        nncf_slb.search.finite.NotFiniteError: If the batches give statistics that are not finite, naming the layers.
    """
    pairs = _Pairs(searched, target)
    if not pairs.target_of:
        return 0
    sums: dict[nn.Module, _Sums] = {}
    samples = 1

    def match(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        wanted = pairs.next_of_target(layer)
        if wanted is not None:
            given = _moments(inputs[0])
            sums.setdefault(layer, _Sums()).add(wanted, given, samples)
            _set(layer, pairs.target_of[layer], wanted, given)

    with replaced_statistics(searched) as used:
        with preserved_modes(searched), hooked(layer.register_forward_pre_hook(match) for layer in pairs.target_of):
            searched.eval()
            for batch in batches:
                samples = count(batch) or 1
                pairs.forget()
                with pairs.recorded():
                    run(target, batch)
                run(searched, batch)
                used.append(samples)
        for layer, each in sums.items():
            _set(layer, pairs.target_of[layer], *each.means())
    return len(used)


class _Sums:
    """Moments of both networks at a layer, over batches."""

    def __init__(self) -> None:
        self._samples = 0
        self._sums: list[Tensor] = []

    def add(self, wanted: _Moments, given: _Moments, samples: int) -> None:
        """Those of a call."""
        self._samples += samples
        each = [samples * moment.double() for moment in (*wanted, *given)]
        self._sums = [a + b for a, b in zip(self._sums, each, strict=True)] if self._sums else each

    def means(self) -> tuple[_Moments, _Moments]:
        """Of the target and of the searched network."""
        a, b, c, d = (each / self._samples for each in self._sums)
        return _Moments(a, b), _Moments(c, d)


def _set(layer: nn.Module, target: nn.Module, wanted: _Moments, given: _Moments) -> None:
    """Statistics with which `given` comes out as `wanted` does in the target."""
    assert isinstance(layer, _BatchNorm) and isinstance(target, _BatchNorm)
    assert layer.running_mean is not None and layer.running_var is not None
    assert target.running_mean is not None and target.running_var is not None
    ratio = (given.variance + layer.eps) / (wanted.variance + target.eps)
    layer.running_mean.copy_(given.mean - (wanted.mean - target.running_mean) * ratio.sqrt())
    layer.running_var.copy_(((target.running_var + target.eps) * ratio - layer.eps).clamp_min(0.0))
