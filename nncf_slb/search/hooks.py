"""Hooks that are there for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Take hooks off again on leaving."""
    handles = list(handles)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
