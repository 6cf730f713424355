"""Keeps a host model's batch norm statistics those of the discrete network whenever it is evaluated.

Forward hooks watch the model: a training pass makes the statistics stale, the next evaluation pass renews them first
(`calibrate`), or each training pass is followed by one of the discrete weights for their own statistics (`state`).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nncf_slb.search.batches import Batches
from nncf_slb.search.batchnorm import STATISTICS, TwoStates, batch_norms, calibrate, preserved_modes
from nncf_slb.search.searchable import searchable_weights
from nncf_slb.search.state import SearchState, WeightKind

logger = logging.getLogger("nncf_slb")

STALE = "batchnorm_stale"


class _Hook:
    """Forward hook of a model, and of its deep copies, which share the batches; a pickled model has it without effect.

    (A pickle would bring the data loader along.)
    """

    def __init__(self, owner: DiscreteBatchNorm | None, method: str) -> None:
        self._owner, self._method = owner, method
        self._warned = False

    def __call__(self, model: nn.Module, *args: Any) -> None:
        if self._owner is None:
            self._warn(model)
            return
        self._owner = self._owner.of(model)
        getattr(self._owner, self._method)(model, *args)

    def _warn(self, model: nn.Module) -> None:
        if not (self._warned or model.training) and any(bool(m._buffers.get(STALE, 0)) for m in model.modules()):
            self._warned = True
            logger.warning(
                "slb: a searched network from a pickle is evaluated with the batch norm statistics of its searched "
                "weights, since it brings no data to calibrate with. Evaluate the network once before it is pickled, "
                "or keep its state dict and create the network anew"
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> _Hook:
        return _Hook(self._owner, self._method)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Hook, (None, self._method))


class DiscreteBatchNorm:
    """Batch norm statistics of the discrete network of one model.

    A flag ``batchnorm_stale`` among the model's buffers says whether calibration has yet to renew them, so that it
    travels with the statistics. A model without batch norm gets neither flag nor hooks, and no extra forward passes.

    Args:
        model: Model whose eval mode runs the chosen weights.
        search: State of its searched weights.
        two_states: Keep running statistics for searched and discrete weights (the paper); else calibrate.
        batches: Number of batches to calibrate with.
        data: Batches to calibrate with; None where there are none.
        no_data_advice: What to do about that, for the warning.
        host_is_tracing: True while the host runs a model only to see its graph; such passes count for nothing.
        holder: Module of the model whose buffer the flag is; by default the model.
    """

    def __init__(
        self,
        model: nn.Module,
        search: SearchState,
        two_states: bool,
        batches: int,
        data: Batches | None,
        no_data_advice: str,
        host_is_tracing: Callable[[nn.Module], bool],
        holder: nn.Module | None = None,
    ) -> None:
        self._model = model
        self._holder = model if holder is None else holder
        self._search = search
        self._states = TwoStates(model) if two_states else None
        self._batches = batches
        self._data = data
        self._no_data_advice = no_data_advice
        self._host_is_tracing = host_is_tracing
        self._busy = False
        self._warned = False
        self._of_copies: WeakKeyDictionary[nn.Module, DiscreteBatchNorm] = WeakKeyDictionary()
        if not batch_norms(model):
            return
        if not two_states:
            self._holder.register_buffer(STALE, torch.tensor(0.0, device=next(model.parameters()).device))
        model.register_forward_pre_hook(_Hook(self, "before_forward"))
        model.register_forward_hook(_Hook(self, "after_forward"), with_kwargs=True)

    def of(self, model: nn.Module) -> DiscreteBatchNorm:
        """Itself for its model; for a deep copy of it, one with the same batches."""
        if model is self._model:
            return self
        if model not in self._of_copies:
            duplicate = copy.copy(self)
            duplicate._model, duplicate._of_copies = model, WeakKeyDictionary()
            duplicate._holder = next((m for m in model.modules() if STALE in m._buffers), model)
            duplicate._search = searchable_weights(model)[0].search
            duplicate._states = None if self._states is None else TwoStates.of_copy(model)
            self._of_copies[model] = duplicate
        return self._of_copies[model]

    @property
    def stale(self) -> bool:
        """True when the statistics are not those of the discrete network any more, and calibration can renew them."""
        flag = self._holder._buffers.get(STALE)
        return flag is not None and bool(flag)

    def _set_stale(self, stale: bool) -> None:
        flag = self._holder._buffers.get(STALE)
        if flag is not None:
            flag.fill_(stale)

    def _calibrate(self) -> None:
        """Recompute the statistics with the discrete weights, if there is a loader."""
        if self._data is None:
            self._warn_no_data()
            return
        with self._undisturbed():
            calibrate(self._model, self._data.runner(self._model), self._data.take(self._batches))
        self._set_stale(False)

    def refresh(self) -> None:
        """Make the statistics of the discrete network the current ones, where they are not."""
        if self._states is not None:
            self._states.activate(discrete=True)
        elif self.stale:
            self._calibrate()

    @contextmanager
    def discrete_statistics(self) -> Iterator[None]:
        """Statistics of the discrete (chosen) weights; the former ones come back on leaving, bit for bit."""
        with self._kept_statistics():
            self.refresh()
            yield

    @contextmanager
    def searched_statistics(self) -> Iterator[None]:
        """Statistics of the searched (expected) weights; the former ones come back on leaving, bit for bit."""
        with self._kept_statistics(), self._undisturbed():
            if self._states is not None:
                self._states.activate(discrete=False)
            yield

    @contextmanager
    def _kept_statistics(self) -> Iterator[None]:
        stale, discrete = self.stale, self._states is not None and self._states.discrete_active
        kept = [
            (layer, name, getattr(layer, name).clone()) for layer in batch_norms(self._model) for name in STATISTICS
        ]
        try:
            yield
        finally:
            self._set_stale(stale)
            if self._states is not None:
                self._states.activate(discrete)
            for layer, name, value in kept:
                getattr(layer, name).copy_(value)

    def calibrate_searched(self) -> None:
        """Within `searched_statistics` and with expected weights in use: recompute the statistics from them."""
        if self._states is None and self._data is not None:
            calibrate(self._model, self._data.runner(self._model), self._data.take(self._batches))
            self._set_stale(True)

    def give_statistics(self, duplicate: nn.Module) -> None:
        """Copy the current statistics into a copy of the model that was made earlier."""
        TwoStates.remove(duplicate)
        names = {name: layer for name, layer in duplicate.named_modules() if isinstance(layer, _BatchNorm)}
        for name, layer in self._model.named_modules():
            if name in names and isinstance(layer, _BatchNorm) and layer.running_mean is not None:
                for statistic in STATISTICS:
                    getattr(names[name], statistic).copy_(getattr(layer, statistic))

    @staticmethod
    def detach(model: nn.Module) -> None:
        """Remove hooks, flag and second sets of statistics from a model (usually a copy)."""
        for hooks in (model._forward_pre_hooks, model._forward_hooks):
            for key in [k for k, hook in hooks.items() if isinstance(hook, _Hook)]:
                del hooks[key]
                model._forward_hooks_with_kwargs.pop(key, None)
        for module in model.modules():
            module._buffers.pop(STALE, None)
        TwoStates.remove(model)

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def before_forward(self, model: nn.Module, args: Any) -> None:
        """Forward pre-hook: a training pass makes the statistics stale, an evaluation renews them."""
        if self._busy or self._host_is_tracing(self._model):
            return
        if not model.training:
            self.refresh()
            return
        self._set_stale(True)
        if self._states is not None:
            self._states.activate(discrete=self._search.trains_what_it_evaluates)

    def after_forward(self, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Forward hook: with two sets of statistics, a second pass moves those of the discrete network."""
        if self._busy or self._states is None or not model.training or self._search.trains_what_it_evaluates:
            return
        self._states.activate(discrete=True)
        try:
            with (
                self._undisturbed(),
                preserved_modes(model),
                self._search.using(WeightKind.CHOSEN),
                torch.no_grad(),
            ):
                model(*args, **kwargs)
        finally:
            self._states.activate(discrete=False)

    def _warn_no_data(self) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "slb: there are no batches to calibrate batch norm with, so it keeps the statistics of the searched "
                "weights and the discrete network is evaluated with them. %s",
                self._no_data_advice,
            )
