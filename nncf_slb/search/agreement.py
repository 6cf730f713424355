"""How near a network's answers are to those of the float network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from nncf_slb.search.outputs import are_classes, floating_outputs


@dataclass(frozen=True)
class Agreement:
    """How near answers are.

    Attributes:
        value: Percent of the samples with the float network's class, or decibels between its outputs and the
            difference (infinite where there is none, minus infinity where its own outputs are all 0).
        unit: ``%`` or ``dB``.
    """

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:.2f} {self.unit}"


@torch.no_grad()
def agreement(target: Callable[[Any], Any], other: Callable[[Any], Any], batches: Iterable[Any]) -> Agreement:
    """Compare two networks on the same batches.

    Args:
        target: Runs the float network on a batch.
        other: Runs the other one.
        batches: Batches of samples.

    Returns:
        Where there are classes (`nncf_slb.search.outputs.are_classes`): samples of equal class; else
        ``10 log10(||target||**2 / ||other - target||**2)`` over all outputs.
    """
    same = samples = 0
    signal = noise = 0.0
    for batch in batches:
        for expected, received in zip(floating_outputs(target(batch)), floating_outputs(other(batch)), strict=True):
            if are_classes(expected):
                same += int((expected.argmax(1) == received.argmax(1)).sum())
                samples += len(expected)
            signal += float(expected.double().square().sum())
            noise += float((received.double() - expected.double()).square().sum())
    if samples:
        return Agreement(100 * same / samples, "%")
    if not (noise and signal):
        return Agreement(-math.inf if noise else math.inf, "dB")
    return Agreement(10 * math.log10(signal / noise), "dB")
