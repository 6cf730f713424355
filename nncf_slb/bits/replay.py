"""Outputs of a network's innermost modules, kept from one pass to be given again in passes that begin the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_MOST_BYTES = 2**30


class Replay:
    """Remembers what modules without modules inside give in one pass, up to a gigabyte.

    Args:
        model: Network in evaluation mode, which gives the same for the same input.
    """

    def __init__(self, model: nn.Module) -> None:
        self._leaves = [module for module in model.modules() if _holds_none(module)]
        self._calls: list[tuple[nn.Module, Tensor | None]] = []
        self._bytes = 0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, one pass of the model is remembered in place of the one before."""
        self._calls, self._bytes = [], 0
        handles = [leaf.register_forward_hook(self._remember) for leaf in self._leaves]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _remember(self, module: nn.Module, _: Any, output: Any) -> None:
        kept = None
        if isinstance(output, Tensor) and self._bytes + output.nbytes <= _MOST_BYTES:
            kept = output.detach().clone()  # a later operation in place may change it
            self._bytes += kept.nbytes
        self._calls.append((module, kept))

    @contextmanager
    def until(self, layer: nn.Module) -> Iterator[None]:
        """Within it, a pass with the remembered input gives the remembered outputs up to the first call of a layer."""
        first = next((index for index, (module, _) in enumerate(self._calls) if module is layer), 0)
        outputs: dict[nn.Module, list[Tensor | None]] = {}
        for module, kept in self._calls[:first]:
            outputs.setdefault(module, []).append(kept)
        with _replaced({module: _repeat(module, output) for module, output in outputs.items()}):
            yield


def _holds_none(module: nn.Module) -> bool:
    """Whether a module holds no others, or only empty dictionaries for a host's operations."""
    return all(isinstance(child, nn.ModuleDict) and not len(child) for child in module.children())


def _repeat(module: nn.Module, outputs: list[Tensor | None]) -> Callable[..., Any]:
    own, waiting = module.forward, iter(outputs)

    def forward(*args: Any, **kwargs: Any) -> Any:
        kept = next(waiting, None)
        return own(*args, **kwargs) if kept is None else kept.clone()

    return forward


@contextmanager
def _replaced(forwards: dict[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    for module, forward in forwards.items():
        module.__dict__["forward"] = forward
    try:
        with torch.no_grad():
            yield
    finally:
        for module in forwards:
            del module.__dict__["forward"]
