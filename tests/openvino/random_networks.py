"""Random networks as Hypothesis draws them: straight-line programs over images, which shrink to few steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

SIZE = (3, 3, 12, 12)
ACTIVATIONS = {
    "relu": nn.ReLU, "relu_": lambda: nn.ReLU(inplace=True), "silu": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh,
    "hardswish": nn.Hardswish, "leaky": lambda: nn.LeakyReLU(0.1), "sigmoid": nn.Sigmoid, "elu": nn.ELU,
}  # fmt: skip
STEPS = [
    "conv", "conv", "conv", "conv", "pointwise", "depthwise", "grouped", "strided", "dilated", "up", "token", "gate",
    "split", "norm", "norm", "act", "act", "add", "sub", "mul", "max", "cat", "chunk", "shuffle", "pool", "pad",
    "scale", "mean",
]  # fmt: skip
NORMS = {
    "batch": lambda c: nn.BatchNorm2d(c), "group": lambda c: nn.GroupNorm(1 if c % 2 else 2, c),
    "instance": lambda c: nn.InstanceNorm2d(c, affine=True), "local": lambda c: nn.LocalResponseNorm(3),
    "last": lambda c: ChannelsLast(nn.LayerNorm(c)), "bare": lambda c: nn.GroupNorm(1, c, affine=False),
}  # fmt: skip


class ChannelsLast(nn.Module):
    """A layer of the channels, applied to each pixel."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Tokens(ChannelsLast):
    """The same on a sequence of pixels."""

    def forward(self, x):
        n, _, h, w = x.shape
        return self.layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(n, -1, h, w)


class Gate(nn.Module):
    """Squeeze and excite."""

    def __init__(self, channels):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(self.down(F.adaptive_avg_pool2d(x, 1)).relu()))


class Split(nn.Module):
    """One convolution for each half of the channels."""

    def __init__(self, channels, bias):
        super().__init__()
        half = channels // 2
        self.parts = nn.ModuleList(nn.Conv2d(half, half, 3, padding=1, bias=bias) for _ in range(2))

    def forward(self, x):
        return torch.cat([part(y) for part, y in zip(self.parts, x.chunk(2, 1), strict=True)], 1)


@dataclass(frozen=True)
class Step:
    """One step: its kind, which earlier tensors it takes, counted from the last one, and a choice of its own."""

    kind: str
    first: int
    second: int
    choice: int

    def layer(self, channels: int) -> nn.Module | None:
        """Module of the step, where it has one."""
        outputs, bias, c = (4, 6, 8, 16)[self.choice % 4], bool(self.choice & 4), channels
        makers = {
            "conv": lambda: nn.Conv2d(c, outputs, 3, padding=1, bias=bias),
            "pointwise": lambda: nn.Conv2d(c, outputs, 1, bias=bias),
            "depthwise": lambda: nn.Conv2d(c, c, 3, padding=1, groups=c, bias=bias),
            "grouped": lambda: nn.Conv2d(c, c, 3, padding=1, groups=1 if c % 2 else 2, bias=bias),
            "strided": lambda: nn.Conv2d(c, outputs, *((1, 2, 0) if self.choice & 8 else (3, 2, 1)), bias=bias),
            "dilated": lambda: nn.Conv2d(c, outputs, 3, padding=2, dilation=2, padding_mode="reflect", bias=bias),
            "up": lambda: nn.ConvTranspose2d(c, outputs, 2, 2, bias=bias),
            "token": lambda: (Tokens if bias else ChannelsLast)(nn.Linear(c, outputs)),
            "gate": lambda: Gate(c),
            "split": lambda: Split(c, bias) if c % 2 == 0 else nn.Conv2d(c, c, 1),
            "norm": lambda: list(NORMS.values())[self.choice % len(NORMS)](c),
            "act": lambda: list(ACTIVATIONS.values())[self.choice % len(ACTIVATIONS)](),
            "pool": lambda: (nn.MaxPool2d, nn.AvgPool2d)[self.choice % 2](2),
        }  # fmt: skip
        return makers[self.kind]() if self.kind in makers else None


class Program(nn.Module):
    """A network that follows steps; a step that fits no tensor there is does nothing."""

    def __init__(self, steps, head, outputs):
        super().__init__()
        self.steps, self.outputs, self.layers = steps, outputs, nn.ModuleList()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        shapes = [(8, 12, 12)]
        for step in steps:
            shape = self._take(step, shapes)
            shapes.append(shape)
        self.head = nn.Linear(shapes[-1][0], 5) if head else None

    def _take(self, step, shapes):
        c, h, w = shapes[self._index(step.first, shapes)]
        wants_two = step.kind in ("strided", "pool") and min(h, w) < 4
        too_large = step.kind == "up" and h > 12
        layer = nn.Identity() if wants_two or too_large else step.layer(c) or nn.Identity()
        self.layers.append(layer)
        with torch.no_grad():
            tensors = [torch.zeros(1, *shape) for shape in shapes]
            return tuple(self._run(step, layer.eval(), tensors).shape[1:])

    @staticmethod
    def _index(back, tensors):
        return len(tensors) - 1 - back % len(tensors)

    def _run(self, step, layer, tensors):
        x, other = tensors[self._index(step.first, tensors)], tensors[self._index(step.second, tensors)]
        if step.kind in ("add", "sub", "mul", "max") and x.shape == other.shape:
            operations = {"add": torch.add, "sub": torch.sub, "mul": lambda a, b: a * b.sigmoid(), "max": torch.maximum}
            return operations[step.kind](x, other)
        if step.kind == "cat" and x.shape[2:] == other.shape[2:] and x.shape[1] + other.shape[1] <= 48:
            return torch.cat([x, other], 1)
        if step.kind == "chunk" and x.shape[1] % 2 == 0:
            return x.chunk(2, 1)[step.choice % 2]
        if step.kind == "shuffle" and x.shape[1] % 2 == 0:
            n, c, h, w = x.shape
            return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        if step.kind == "pad" and x.shape[2] <= 12:
            return F.pad(x, (1, 1, 1, 1))
        if step.kind == "scale":
            return x * (0.5, 2.0, -1.0, 1 / 255)[step.choice % 4]
        if step.kind == "mean":
            return x - x.mean((2, 3), keepdim=True)
        in_place = isinstance(layer, nn.ReLU) and layer.inplace
        return layer(x.clone() if in_place else x)

    def forward(self, x):
        tensors = [self.stem(x)]
        for step, layer in zip(self.steps, self.layers, strict=True):
            tensors.append(self._run(step, layer, tensors))
        last = tensors[-1] if self.head is None else self.head(tensors[-1].mean((2, 3)))
        return (last, tensors[len(tensors) // 2]) if self.outputs == 2 else last


def steps():
    """Steps of a program."""
    back = st.integers(0, 4)
    return st.builds(Step, st.sampled_from(STEPS), st.one_of(st.just(0), back), back, st.integers(0, 15))


def programs():
    """Networks."""
    return st.builds(Program, st.lists(steps(), max_size=10), st.booleans(), st.sampled_from([1, 1, 1, 2]))


def settings():
    """Settings of the slb section: bits of weights and of inputs, and whether NNCF quantizes inputs instead."""
    pairs = st.tuples(st.sampled_from([1, 2, 3, 4]), st.sampled_from([32, 32, 8, 8, 4, 2, 1]), st.just(False))
    return st.one_of(pairs, pairs, st.tuples(st.sampled_from([1, 2, 3, 4]), st.just(32), st.just(True)))
