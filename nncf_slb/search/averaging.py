"""Exponential mean of the latents: what a search settles on.

Latents of single weights go on swinging between two values while a network is trained; their mean does not
(docs/results.md, "How a search settles").
"""

from __future__ import annotations

from dataclasses import dataclass

PARTS = 16  # the mean is over the last of so many parts of the steps so far where no decay is given


@dataclass(frozen=True)
class Averaging:
    """How much of a mean is kept at each optimizer step.

    Attributes:
        decay: Between 0 and 1; None lets it rise with the number of steps, ``1 - 16 / (steps + 16)``, which is 0.992
            after 2,000 and 0.97 after 500, so that the mean is over the same share of a search of any length.
    """

    decay: float | None = None

    def share_of_new(self, steps: int) -> float:
        """Share that the latents of a step get in the mean, by the number of steps before it."""
        if steps == 0:
            return 1.0
        if self.decay is not None:
            return 1.0 - self.decay
        return PARTS / (steps + PARTS)
