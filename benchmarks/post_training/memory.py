"""Memory and time of a search without labels in a network of ResNet-50's shape, with random images.

    python -m benchmarks.post_training.memory [network | block]

Peak resident memory of the process, and seconds a step once the first one is over.
"""

from __future__ import annotations

import argparse
import resource
import time
from itertools import pairwise

import torch
from torch import Tensor, nn

import nncf_slb
from nncf_slb.hosts.quiet import quieten

_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
_IMAGES, _SIDE = 24, 224


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut (He et al., 2016)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.first = _convolution(inputs, width, 1)
        self.second = _convolution(width, width, 3, stride)
        self.third = _convolution(width, outputs, 1)
        is_same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if is_same else _convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Of feature maps ``[samples, channels, height, width]``."""
        return (self.third(self.second(self.first(x).relu()).relu()) + self.shortcut(x)).relu()


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def resnet50() -> nn.Sequential:
    """25.6 million weights, untrained."""
    layers: list[nn.Module] = [_convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, (width, count) in enumerate(_STAGES):
        blocks = []
        for index in range(count):
            blocks.append(Bottleneck(inputs, width, 2 if stage and not index else 1))
            inputs = 4 * width
        layers.append(nn.Sequential(*blocks))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("granularity", nargs="?", choices=("network", "block"), default="network")
    parser.add_argument("--bits", type=int, choices=(1, 2, 3, 4), default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    quieten()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = resnet50().eval()
    ends: list[tuple[int, float]] = []
    nncf_slb.search_post_training(
        model, torch.randn(_IMAGES, 3, _SIDE, _SIDE), bits=arguments.bits, steps=arguments.steps, dry_export=False,
        granularity=arguments.granularity, progress=lambda p: ends.append((p.step, time.perf_counter())),
    )  # fmt: skip
    weights = sum(p.numel() for p in model.parameters())
    # The first step of a block comes after the passes that give its inputs.
    steps = [b - a for (step, a), (_, b) in pairwise(ends) if step % arguments.steps]
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = sorted(steps)[len(steps) // 2]
    print(f"{weights:,} weights, {arguments.granularity}, {arguments.bits} bits, {arguments.threads} threads: peak "
          f"{peak / 1e9:.2f} GB, median {seconds:.2f} s a step of {len(steps) + 1}")  # fmt: skip


if __name__ == "__main__":
    main()
