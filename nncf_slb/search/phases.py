"""What the search does at one moment of training: pure functions of time, and a clock that counts epochs and steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nncf_slb.search.temperature import TemperatureCurve


@dataclass(frozen=True)
class Phase:
    """One moment (paper, section 3.2).

    Attributes:
        inverse_temperature: ``1 / tau``.
        discrete: Training uses the chosen weights.
    """

    inverse_temperature: float = 1.0
    discrete: bool = False


class SearchClock:
    """Counts epochs and optimizer steps, and says which phase they are.

    Args:
        curve: Inverse temperature over the epochs; its end is where the weights become discrete.
        per_step: Follow the curve within each epoch.
        steps_per_epoch: Optimizer steps in an epoch; None counts them in each epoch for the next one.
        expected_steps: What is taken for the first epoch where they are counted; None keeps its phase as it was at
            its beginning.
        epochs: Epochs of the training; the last step of the last one is discrete however few steps an epoch has.
    """

    def __init__(
        self,
        curve: TemperatureCurve,
        per_step: bool = False,
        steps_per_epoch: int | None = None,
        expected_steps: int | None = None,
        epochs: int | None = None,
    ) -> None:
        self.curve = curve
        self._epochs = epochs
        self.epoch = -1
        self._per_step = per_step
        self._counts_steps = steps_per_epoch is None
        self._steps_per_epoch = steps_per_epoch or expected_steps or None  # an empty loader has no length to go by
        self._step_in_epoch = -1
        self._resumed = False  # until the first step or epoch after `load_state`
        self._is_over = False

    @property
    def position(self) -> float:
        """Zero-based time in epochs; fractional when following the curve per step."""
        epoch = max(self.epoch, 0)
        if not self._per_step or self._steps_per_epoch is None:
            return float(epoch)
        return epoch + min(max(self._step_in_epoch, 0) / self._steps_per_epoch, 1.0)

    @property
    def phase(self) -> Phase:
        """Current phase."""
        ends_here = self._is_over or self._is_last_step
        position = max(self.position, self.curve.end_epoch) if ends_here else self.position
        return Phase(self.curve(position), self.curve.has_ended(position))

    @property
    def _is_last_step(self) -> bool:
        if not self._per_step or self._epochs is None or self._steps_per_epoch is None:
            return False
        return self.epoch >= self._epochs - 1 and self._step_in_epoch >= self._steps_per_epoch - 1

    @property
    def temperature_falls(self) -> bool:
        """Whether training has begun and the temperature with it."""
        return self.epoch >= 0 and self.curve.has_started(self.position)

    def advance(self, steps: int) -> None:
        """Count optimizer steps within the epoch."""
        self._resumed = False
        self._step_in_epoch += steps

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch, zero-based."""
        if self._counts_steps and self.epoch >= 0 and self._step_in_epoch >= 0:
            counted = self._step_in_epoch + 1
            # A checkpoint from the middle of an epoch from which training does not continue holds a part of its count.
            self._steps_per_epoch = max(counted, self._steps_per_epoch or 0) if self._resumed else counted
        self._resumed = False
        self.epoch = epoch
        self._step_in_epoch = -1

    def end(self) -> None:
        """Be over from here on, wherever the curve is."""
        self._is_over = True

    def get_state(self) -> dict[str, Any]:
        """Plain Python values; the epoch is the caller's to keep."""
        return {
            "step_in_epoch": self._step_in_epoch, "steps_per_epoch": self._steps_per_epoch, "is_over": self._is_over
        }  # fmt: skip

    def load_state(self, state: dict[str, Any], epoch: int) -> None:
        """Continue from `get_state` in a zero-based epoch."""
        self.epoch = epoch
        self._step_in_epoch = state["step_in_epoch"]
        self._steps_per_epoch = state["steps_per_epoch"]
        self._is_over = state["is_over"]
        self._resumed = True
