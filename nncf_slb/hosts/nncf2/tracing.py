"""Confines NNCF's legacy tracing to the time in which an NNCF network is traced.

With ``NNCF_TORCH_LEGACY_TRACING=1`` importing `nncf.torch` replaces about a thousand functions of `torch` and
`torch.nn.functional`, for the whole process and for good. Code that has nothing to do with NNCF breaks on that
(measured with NNCF 2.19.0 and torch 2.13.0): device contexts and the default device are ignored, so models that are
built under ``torch.device("meta")`` keep buffers of uninitialised memory; modules that hold such a function cannot be
pickled; tables of ``__torch_function__`` overrides and FX patterns, which compare functions by identity, find nothing.

Here the wrappers are kept and put in place only while a thread is inside an NNCF `TracingContext`.
"""

from __future__ import annotations

import threading
from typing import Any

import torch

# NNCF also fills classes of its own, whose tensors exist within contexts only: what it put there stays.
_NAMESPACES = (torch, torch.nn.functional, torch.nn.Module, torch.Tensor)
_Entry = tuple[Any, str, Any, Any]  # namespace, name, PyTorch's own function, NNCF's wrapper


class _Switch:
    """Puts NNCF's wrappers in place while any context is open, and PyTorch's own functions otherwise."""

    def __init__(self, entries: list[_Entry]) -> None:
        self.entries = entries
        self._open = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self._open += 1
            if self._open == 1:
                self.wrap()

    def leave(self) -> None:
        with self._lock:
            self._open -= 1
            if self._open == 0:
                self.unwrap()

    @property
    def is_open(self) -> bool:
        return self._open > 0

    def wrap(self) -> None:
        for namespace, name, original, wrapper in self.entries:
            if namespace.__dict__.get(name) is original:  # somebody else's function stays
                setattr(namespace, name, wrapper)

    def unwrap(self) -> None:
        for namespace, name, original, wrapper in self.entries:
            if namespace.__dict__.get(name) is wrapper:
                setattr(namespace, name, original)


def confine_tracing() -> None:
    """Give PyTorch its own functions back, but for passes that NNCF traces. Call after `nncf.torch` is imported.

    Safe to call again. Without NNCF's wrappers (tracing without legacy patches) it does nothing.
    """
    from nncf.torch.dynamic_graph import patch_pytorch
    from nncf.torch.dynamic_graph.context import TracingContext

    if not patch_pytorch.PATCHING_STATE.operators_are_wrapped or hasattr(TracingContext, "_nncf_slb_switch"):
        return
    switch = _make_switch(patch_pytorch.ORIGINAL_OPERATORS)
    _trace_functions_imported_by_name(switch)
    TracingContext._nncf_slb_switch = switch
    _follow_contexts(TracingContext, switch)
    _replace_patching(patch_pytorch, switch)
    switch.unwrap()
    # Filled from wrapped functions if somebody asked for it meanwhile.
    torch.utils._device._device_constructors.cache_clear()


def _make_switch(originals: list[Any]) -> _Switch:
    entries: list[_Entry] = []
    for operator in originals:
        if operator.namespace in _NAMESPACES and "torch_function" not in operator.name:
            entries.append((operator.namespace, operator.name, operator.op, getattr(operator.namespace, operator.name)))
        elif operator.namespace in _NAMESPACES:  # what hands a call on to `__torch_function__` is no operation to trace
            setattr(operator.namespace, operator.name, operator.op)
    return _Switch(entries)


def _follow_contexts(context: Any, switch: _Switch) -> None:
    enter, leave = context.__enter__, context.__exit__

    def __enter__(self: Any) -> Any:
        switch.enter()
        return enter(self)

    def __exit__(self: Any, *args: Any) -> Any:
        try:
            return leave(self, *args)
        finally:
            switch.leave()

    context.__enter__, context.__exit__ = __enter__, __exit__


def _replace_patching(patch_pytorch: Any, switch: _Switch) -> None:
    """NNCF's own switch makes new wrappers each time; this one uses those that there are."""
    state = patch_pytorch.PATCHING_STATE

    def patch_torch_operators() -> None:
        if not state.operators_are_wrapped:
            state.operators_are_wrapped = True
            if switch.is_open:
                switch.wrap()

    def unpatch_torch_operators() -> None:
        if state.operators_are_wrapped:
            state.operators_are_wrapped = False
            switch.unwrap()

    patch_pytorch.patch_torch_operators = patch_torch_operators
    patch_pytorch.unpatch_torch_operators = unpatch_torch_operators


def _trace_functions_imported_by_name(switch: _Switch) -> None:
    """Trace ``from torch import cat`` too, which is PyTorch's own function: NNCF's tensors hand it to its wrapper."""
    from nncf.torch.dynamic_graph.context import get_current_context
    from nncf.torch.dynamic_graph.trace_tensor import TracedTensor

    wrappers = {
        original: wrapper
        for namespace, _, original, wrapper in switch.entries
        if namespace in (torch, torch.nn.functional)
    }

    def __torch_function__(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        context = get_current_context()
        if context is not None and context.is_tracing and not getattr(context, "in_operator", False):
            func = wrappers.get(func, func)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    TracedTensor.__torch_function__ = classmethod(__torch_function__)
