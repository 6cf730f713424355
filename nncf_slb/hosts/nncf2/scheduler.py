"""Phases of the search behind NNCF's `CompressionScheduler` interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nncf.common.schedulers import BaseCompressionScheduler

from nncf_slb.search.phases import Phase, PhasePlan


class SLBScheduler(BaseCompressionScheduler):  # type: ignore[misc]
    """Sets the phase of the search at the beginning of each epoch, or of each optimizer step.

    Args:
        plan: Phases over the epochs.
        apply: Called with the phase.
        begin_epoch: Called before the first step of each epoch.
        per_step: Follow the plan within each epoch.
        steps_per_epoch: Optimizer steps in an epoch; None counts them in each epoch for the next one.
        expected_steps: What is taken for the first epoch where they are counted; None keeps its phase as it was at
            its beginning.
    """

    def __init__(
        self,
        plan: PhasePlan,
        apply: Callable[[Phase], None],
        begin_epoch: Callable[[], None],
        per_step: bool = False,
        steps_per_epoch: int | None = None,
        expected_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self._apply = apply
        self._begin_epoch = begin_epoch
        self._per_step = per_step
        self._counts_steps = steps_per_epoch is None
        self._steps_per_epoch = steps_per_epoch or expected_steps
        self._step_in_epoch = -1
        self._resumed = False  # until the first step or epoch after `load_state`
        self._update()

    @property
    def position(self) -> float:
        """Zero-based time in epochs; fractional when following the curve per step."""
        epoch = max(int(self.current_epoch), 0)
        if not self._per_step or self._steps_per_epoch is None:
            return float(epoch)
        return epoch + min(max(self._step_in_epoch, 0) / self._steps_per_epoch, 1.0)

    @property
    def phase(self) -> Phase:
        """Current phase."""
        return self.plan(self.position)

    @property
    def inverse_temperature(self) -> float:
        """Current ``1 / tau``."""
        return self.phase.inverse_temperature

    def step(self, next_step: int | None = None) -> None:
        """Prepare the next optimizer step (global index from 0)."""
        before = self.current_step
        self._resumed = False
        super().step(next_step)
        self._step_in_epoch += self.current_step - before
        if self._per_step:
            self._update()

    def epoch_step(self, next_epoch: int | None = None) -> None:
        """Prepare the next epoch (index from 0)."""
        if self._counts_steps and self.current_epoch >= 0 and self._step_in_epoch >= 0:
            counted = self._step_in_epoch + 1
            # A checkpoint from the middle of an epoch that training does not go on with holds a part of its count.
            self._steps_per_epoch = max(counted, self._steps_per_epoch or 0) if self._resumed else counted
        self._resumed = False
        super().epoch_step(next_epoch)
        self._step_in_epoch = -1
        self._begin_epoch()
        self._update()

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_state`, with the phase that belongs to it."""
        super().load_state(state)
        self._step_in_epoch = state["step_in_epoch"]
        self._steps_per_epoch = state["steps_per_epoch"]
        self._resumed = True
        self._update()

    def get_state(self) -> dict[str, Any]:
        """Plain Python values."""
        return {
            **super().get_state(),
            "step_in_epoch": self._step_in_epoch,
            "steps_per_epoch": self._steps_per_epoch,
        }

    def _update(self) -> None:
        self._apply(self.phase)
