"""The clock of the search behind NNCF's `CompressionScheduler` interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nncf.common.schedulers import BaseCompressionScheduler

from nncf_slb.search.phases import Phase, SearchClock


class SLBScheduler(BaseCompressionScheduler):  # type: ignore[misc]
    """Sets the phase of the search at the beginning of each epoch and optimizer step.

    Args:
        clock: Counts epochs and steps.
        apply: Called with the phase.
        begin_epoch: Called before the first step of each epoch.
    """

    def __init__(self, clock: SearchClock, apply: Callable[[Phase], None], begin_epoch: Callable[[], None]) -> None:
        super().__init__()
        self.clock = clock
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
        super().step(next_step)
        self.clock.advance(self.current_step - before)
        self._update()

    def epoch_step(self, next_epoch: int | None = None) -> None:
        """Prepare the next epoch (index from 0)."""
        super().epoch_step(next_epoch)
        self.clock.begin_epoch(int(self.current_epoch))
        self._begin_epoch()
        self._update()

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_state`, with the phase that belongs to it."""
        super().load_state(state)
        self.clock.load_state(state, int(self.current_epoch))
        self._update()

    def get_state(self) -> dict[str, Any]:
        """Plain Python values."""
        return {**super().get_state(), **self.clock.get_state()}

    def _update(self) -> None:
        self._apply(self.phase)
