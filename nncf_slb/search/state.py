"""What all searched weights of one network share, and the passes in which they are computed together."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from nncf_slb.search.descent import GradientDescent, MirrorDescent
from nncf_slb.search.expected import Form, Sources, by_probabilities, expected_weights, given, straight_through
from nncf_slb.search.phases import Phase

if TYPE_CHECKING:
    from nncf_slb.search.searchable import SearchableWeight


_Values = dict["SearchableWeight", Callable[[], Tensor]]


class WeightKind(Enum):
    """Which weight a forward pass uses."""

    AUTOMATIC = "automatic"
    EXPECTED = "expected"
    CHOSEN = "chosen"


class SearchState:
    """How far the search of one network is, which weight it gives, and its weights.

    Attributes:
        phase: Temperature, and whether training uses the chosen weights.
        kind: Which weight a forward pass uses: by mode and phase (`AUTOMATIC`), or always the same.
        gradient: What moves latents: ``straight``, as if the weight were continuous, or ``softmax``, the gradient of
            the expected value, until weights are discrete.
        copies_share_logits: Whether deep copies of the weights share their largest tensors with the originals.
        weights: All of them, in the order in which they were made.
    """

    def __init__(self) -> None:
        self.phase = Phase()
        self.kind = WeightKind.AUTOMATIC
        self.gradient: Literal["straight", "softmax"] = "straight"
        self.copies_share_logits = False
        self.weights: list[SearchableWeight] = []
        self._passes = _Passes()

    @property
    def trains_what_it_evaluates(self) -> bool:
        """Whether training and evaluation use the same codes by now: after the end, unless these are those of means."""
        return self.phase.discrete and all(
            not isinstance(weight.descent, MirrorDescent) or weight.descent.mean is None for weight in self.weights
        )

    @contextmanager
    def using(self, kind: WeightKind) -> Iterator[None]:
        """Within it, all searched weights are of this kind, whatever mode they are in."""
        before, self.kind = self.kind, kind
        try:
            yield
        finally:
            self.kind = before

    @contextmanager
    def preserved_phase(self) -> Iterator[None]:
        """On leaving, the phase is that of before."""
        before = self.phase
        try:
            yield
        finally:
            self.phase = before

    @contextmanager
    def sharing_copies(self) -> Iterator[None]:
        """Within it, deep copies share logits and means with their originals: for copies that only read codes."""
        before, self.copies_share_logits = self.copies_share_logits, True
        try:
            yield
        finally:
            self.copies_share_logits = before

    @contextmanager
    def only(self, weights: Iterable[SearchableWeight]) -> Iterator[None]:
        """Within it, these are all the weights there are."""
        before, self.weights = self.weights, list(weights)
        try:
            yield
        finally:
            self.weights = before

    def watch(self, network: nn.Module) -> None:
        """From now on compute all weights together at the beginning of each forward pass of a network."""
        network.register_forward_pre_hook(_Begin(self))
        network.register_forward_hook(_End(self), always_call=True)

    @staticmethod
    def unwatch(network: nn.Module) -> None:
        """Undo `watch`."""
        for hooks in (network._forward_pre_hooks, network._forward_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(hook, _Begin)]:
                del hooks[key]
                network._forward_hooks_always_called.pop(key, None)

    def begin_pass(self, caller: FrameType | None = None) -> None:
        """Compute all weights that the pass will use; they are kept until `end_pass`, or until the caller returns.

        Parts of latents that FSDP has spread over processes come together when their module runs, so these wait.

        Args:
            caller: What runs the pass; None for what calls this.
        """
        caller = caller or sys._getframe(1)
        stack = self._passes.under_way()
        stack.append(_Pass({}, False, caller))  # so that `end_pass` finds one if this fails
        there = [weight for weight in self.weights if not hasattr(weight.searched, "device_mesh")]
        stack[-1] = _Pass(self._values(there), torch.is_grad_enabled(), caller)

    def end_pass(self) -> None:
        """Drop the weights of the innermost pass."""
        self._passes.under_way().pop()

    def is_prepared(self, weight: SearchableWeight) -> bool:
        """Whether a pass is under way that has computed a weight, with gradients where these are wanted now."""
        stack = self._passes.under_way()
        return bool(stack) and weight in stack[-1].values and (stack[-1].has_gradients or not torch.is_grad_enabled())

    def weight(self, weight: SearchableWeight) -> Tensor:
        """What a weight gives now, as computed by the pass under way where there is one."""
        values = self._passes.stack[-1].values if self.is_prepared(weight) else self._values([weight])
        return values[weight]()

    def _values(self, weights: Iterable[SearchableWeight]) -> _Values:
        result: _Values = {}
        together: dict[Any, list[SearchableWeight]] = {}
        for weight in weights:
            if self.kind is not WeightKind.EXPECTED and not weight.is_trained:
                chosen = weight.chosen()
                if weight.training and isinstance(weight.descent, GradientDescent) and torch.is_grad_enabled():
                    chosen = chosen + weight.descent.nothing()
                result[weight] = partial(given, chosen)
                continue
            weight.forget()
            if isinstance(weight.descent, MirrorDescent):
                latent = weight.descent.latent
                together.setdefault((weight.is_trained, latent.device, latent.dtype, weight.kind), []).append(weight)
            else:
                entries = weight.descent.expected(weight.value_table, self.phase.inverse_temperature)
                result[weight] = partial(given, entries * weight.multiplier())
        for (trained, *_), group in together.items():
            result.update(self._expected(group, trained))
        return result

    def _expected(self, group: list[SearchableWeight], trained: bool) -> _Values:
        descents: list[MirrorDescent] = [weight.descent for weight in group]  # type: ignore[misc]
        if trained and torch.is_grad_enabled() and not _in_backward_pass():
            _move_means(descents)
        sharpness = (
            math.inf if trained and self.phase.discrete else descents[0].sharpness * self.phase.inverse_temperature
        )
        if trained and self.gradient == "softmax" and not self.phase.discrete and torch.is_grad_enabled():
            form = Form(descents[0].table, sharpness)
            return {weight: partial(_softmax_gradient, form, weight) for weight in group}
        sources = Sources(
            [descent.latent if trained else descent.decisive for descent in descents],
            [descent.unit for descent in descents],
            [weight.scale_or_one() for weight in group],
            [weight.groups for weight in group],
        )
        factors = sources.factors(group[0].values.step)
        values = expected_weights(Form(descents[0].table, sharpness), sources, factors)
        if torch.is_grad_enabled():
            return dict(zip(group, straight_through(values, sources, factors), strict=True))
        return {weight: partial(given, value) for weight, value in zip(group, values, strict=True)}


def _softmax_gradient(form: Form, weight: SearchableWeight) -> Tensor:
    descent: MirrorDescent = weight.descent  # type: ignore[assignment]
    return by_probabilities(form, descent.latent, descent.unit) * weight.multiplier()


@torch.no_grad()
def _move_means(descents: list[MirrorDescent]) -> None:
    """Let the means of the latents take in those of one more optimizer step."""
    alike: dict[float, list[MirrorDescent]] = {}
    for descent in descents:
        if descent.averaging is not None and descent.moves_mean():
            alike.setdefault(descent.averaging.share_of_new(descent.steps), []).append(descent)
            descent.steps += 1
    for share, group in alike.items():
        means: list[Tensor] = [descent.mean for descent in group]  # type: ignore[misc]
        torch._foreach_lerp_(means, [descent.latent for descent in group], share)


def _in_backward_pass() -> bool:
    """Whether this is the second forward pass of an activation checkpoint."""
    return bool(torch._C._current_graph_task_id() != -1)


class _Pass(NamedTuple):
    values: _Values
    has_gradients: bool
    caller: FrameType

    @property
    def is_under_way(self) -> bool:
        """Whether its caller has not returned."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame is not self.caller:
            frame = frame.f_back
        return frame is not None


class _Passes(threading.local):
    """Weights of the passes under way in this thread, the innermost last; copies and pickles begin without any."""

    def __init__(self) -> None:
        self.stack: list[_Pass] = []

    def under_way(self) -> list[_Pass]:
        """The stack without passes that are over.

        PyTorch calls no hook after a pass that Ctrl-C ends, or another exception that is no `Exception`. The weights of
        such a pass must not serve what runs later, such as a part of the network by itself.
        """
        while self.stack and not self.stack[-1].is_under_way:
            self.stack.pop()
        return self.stack

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Passes, ())


class _Begin:
    """Forward pre-hook that copies and pickles carry along."""

    def __init__(self, search: SearchState) -> None:
        self._search = search

    def __call__(self, *_: Any) -> None:
        self._search.begin_pass(sys._getframe(2))  # the nearer one has returned where hooks follow an exception


class _End(_Begin):
    """Forward hook, for passes that fail as well."""

    def __call__(self, *_: Any) -> None:
        self._search.end_pass()
