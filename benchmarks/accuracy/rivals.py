"""Straight-through weight quantizers that `slb` is compared with, on the same layers of the same network.

Written here: BWN (Rastegari et al., 2016, section 3.1), DoReFa-Net (Zhou et al., 2016, equations 7 and 9-10) and LSQ
(Esser et al., 2020, equations 1-3 and section 2.2). Brevitas' own quantizers come from `brevitas_weights`, in an
environment of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nncf_slb.search.averaging import Averaging


def straight_through(value: Tensor, x: Tensor) -> Tensor:
    """`value` forward, the gradient of `x` backward."""
    return value.detach() + (x - x.detach())  # in this order the sum is exact


class BWN(nn.Module):
    """``mean(|w|) * sign(w)`` for each output channel; the gradient reaches w where ``|w| <= 1``."""

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized weight, the shape of `weight`: ``[out, ...]``."""
        scale = weight.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
        return straight_through(torch.where(weight >= 0, scale, -scale), weight.clamp(-1, 1))


class DoReFa(nn.Module):
    """1 bit: ``mean(|w|) * sign(w)`` over the whole layer. More: ``2 q(tanh(w) / (2 max|tanh(w)|) + 1/2) - 1``.

    DoReFa's values lie in [-1, 1] whatever the layer; the batch norm behind each convolution takes up the factor. So
    that a trained network keeps its outputs, a factor per layer, fixed at the start, brings back the size that
    the weights had.
    """

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.levels = 2**bits - 1
        self.register_buffer("factor", torch.tanh(weight.detach()).abs().max())

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized weight, the shape of `weight`."""
        if self.levels == 1:
            scale = weight.detach().abs().mean()
            return straight_through(torch.where(weight >= 0, scale, -scale), weight)
        bounded = torch.tanh(weight)
        unit = bounded / (2 * bounded.detach().abs().max()) + 0.5
        rounded = straight_through((unit * self.levels).round() / self.levels, unit)
        return (2 * rounded - 1) * self.factor


class LSQ(nn.Module):
    """Learned step per output channel, levels ``-2**(bits-1) .. 2**(bits-1) - 1``; 1 bit: the step times the sign.

    The paper learns one step per layer; per channel is what the other methods here have, and not worse.
    """

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.lowest, self.highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        size = weight.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
        self.step = nn.Parameter(size if bits == 1 else 2 * size / max(self.highest, 1) ** 0.5)
        self.gradient_scale = (weight[0].numel() * max(self.highest, 1)) ** -0.5

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized weight, the shape of `weight`: ``[out, ...]``."""
        step = straight_through(self.step, self.step * self.gradient_scale)
        levels = weight / step
        if self.highest == 0:
            return straight_through(torch.where(levels >= 0, 1.0, -1.0), levels.clamp(-1, 1)) * step
        clipped = levels.clamp(self.lowest, self.highest)
        return straight_through(clipped.round(), clipped) * step


class Averaged(nn.Module):
    """In front of a quantizer: the mean of the float weights, as `slb` averages its latents by default.

    Training moves the mean and uses the weights themselves; evaluation uses the mean where `active` is set. Buffers:
    ``mean`` ``[out, ...]``, and ``passes``, the number of training passes so far.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.averaging, self.active = Averaging(), False
        self.register_buffer("mean", weight.detach().clone())
        self.register_buffer("passes", torch.tensor(0))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight to quantize, the shape of `weight`."""
        if self.training and torch.is_grad_enabled():
            self.mean.lerp_(weight.detach(), self.averaging.share_of_new(int(self.passes)))
            self.passes += 1
        return self.mean if self.active else weight


def _average(layer: nn.Module) -> None:
    """Keep the mean of a layer's float weight, in front of what quantizes it."""
    if not parametrize.is_parametrized(layer, "weight"):
        parametrize.register_parametrization(layer, "weight", Averaged(layer.weight))
        return
    quantizers: Any = layer.parametrizations.weight
    quantizers.insert(0, Averaged(quantizers.original))


@contextmanager
def averaged(network: nn.Module) -> Iterator[None]:
    """Within it, rivals evaluate with the means of their float weights."""
    modules = [module for module in network.modules() if isinstance(module, Averaged)]
    try:
        for module in modules:
            module.active = True
        yield
    finally:
        for module in modules:
            module.active = False


def _own(make: Callable[[Tensor], nn.Module]) -> Callable[[nn.Conv2d], nn.Module]:
    def quantize(layer: nn.Conv2d) -> nn.Module:
        parametrize.register_parametrization(layer, "weight", make(layer.weight), unsafe=True)
        return layer

    return quantize


def _brevitas(kind: str) -> Callable[[nn.Conv2d], nn.Module]:
    def quantize(layer: nn.Conv2d) -> nn.Module:
        from benchmarks.accuracy import brevitas_weights  # only the rivals' environment has Brevitas

        return brevitas_weights.quantized(layer, kind)

    return quantize


# By name: from a convolution to one that computes with quantized weights, trained straight through.
RIVALS: dict[str, Callable[[nn.Conv2d], nn.Module]] = {
    "bwn_w1": _own(lambda weight: BWN()),
    "dorefa_w1": _own(lambda weight: DoReFa(weight, 1)),
    "dorefa_w2": _own(lambda weight: DoReFa(weight, 2)),
    "dorefa_w4": _own(lambda weight: DoReFa(weight, 4)),
    "lsq_w1": _own(lambda weight: LSQ(weight, 1)),
    "lsq_w2": _own(lambda weight: LSQ(weight, 2)),
    "lsq_w4": _own(lambda weight: LSQ(weight, 4)),
    "brevitas_w1": _brevitas("binary"),
    "brevitas_ternary": _brevitas("ternary"),
    "brevitas_w2": _brevitas("2 bits"),
    "brevitas_w4": _brevitas("4 bits"),
}


def insert(network: nn.Module, rival: str, left_out: Sequence[str] | None = None, averages: bool = True) -> nn.Module:
    """Quantize the weights of every convolution but those `left_out`, in place; returns the network.

    Args:
        network: Network of convolutions, plain or NNCF's; the teacher that NNCF's distillation keeps inside stays.
        rival: Name of the quantizer.
        left_out: Names of layers; the first convolution if None.
        averages: Whether means of the float weights are kept, for `averaged`.
    """
    convolutions = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d) and not name.startswith("_nncf.")
    ]
    kept = [convolutions[0][0]] if left_out is None else left_out
    for name, layer in convolutions:
        if name in kept:
            continue
        parent, _, attribute = name.rpartition(".")
        made = RIVALS[rival](layer)
        if averages:
            _average(made)
        setattr(network.get_submodule(parent), attribute, made)
    return network
