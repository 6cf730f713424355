"""The clock of a search as training loops hold it, with the methods of NNCF's compression schedulers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nncf_slb.search.phases import Phase, SearchClock


class SearchScheduler:
    """Sets the phase of the search at the beginning of each epoch and optimizer step.

    Args:
        clock: Counts epochs and steps.
        apply: Called with the phase.
        begin_epoch: Called before the first step of each epoch.

    Attributes:
        current_step: Index of the optimizer step over all epochs, -1 before the first.
        current_epoch: Index of the epoch, -1 before the first.
    """

    def __init__(self, clock: SearchClock, apply: Callable[[Phase], None], begin_epoch: Callable[[], None]) -> None:
        self.clock = clock
        self.current_step = -1
        self.current_epoch = -1
        self._apply = apply
        self._begin_epoch = begin_epoch
        self._update()

    @property
    def phase(self) -> Phase:
        """Current phase."""
        return self.clock.phase

    @property
    def position(self) -> float:
        """Zero-based time in epochs; fractional when following the curve per step."""
        return self.clock.position

    @property
    def inverse_temperature(self) -> float:
        """Current ``1 / tau``."""
        return self.phase.inverse_temperature

    def step(self, next_step: int | None = None) -> None:
        """Prepare the next optimizer step (global index from 0)."""
        before = self.current_step
        self.current_step = before + 1 if next_step is None else next_step
        self.clock.advance(self.current_step - before)
        self._update()

    def epoch_step(self, next_epoch: int | None = None) -> None:
        """Prepare the next epoch (index from 0)."""
        self.current_epoch = self.current_epoch + 1 if next_epoch is None else next_epoch
        self.clock.begin_epoch(self.current_epoch)
        self._begin_epoch()
        self._update()

    def end(self) -> None:
        """End the search here: weights are discrete from now on, whatever steps and epochs follow."""
        self.clock.end()
        self._update()

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_state`, with the phase that belongs to it."""
        self.current_step, self.current_epoch = state["current_step"], state["current_epoch"]
        self.clock.load_state(state, self.current_epoch)
        self._update()

    def get_state(self) -> dict[str, Any]:
        """Plain Python values."""
        return {
            "current_step": self.current_step, "current_epoch": self.current_epoch, **self.clock.get_state()
        }  # fmt: skip

    def _update(self) -> None:
        self._apply(self.phase)
