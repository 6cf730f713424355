"""Results that are remembered for as long as the tensors that they were made from stay the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_LENGTH = 1024  # numbers that are projected on one


class Remembered:
    """One result and what it was made from, told by the numbers themselves.

    PyTorch counts changes in place, but not those through ``.data``. So the numbers are looked at: a sum over their
    bits tells any single change, and projections on a random vector tell changes of sign and order. That takes 0.4 ns
    each, where a lookup of codes takes 11 (Xeon with AVX512, one thread, 2026-11-28). Elsewhere than on the CPU that
    would wait for the device, so nothing is remembered there, nor while the network is traced. Copies and pickles leave
    the result behind.
    """

    def __init__(self) -> None:
        self._made_from: list[_Fingerprint] = []
        self._what = ""
        self._result: Tensor | None = None

    def forget(self) -> None:
        """Give the memory of the result back."""
        self._result = None

    def of(self, what: str, sources: Sequence[Tensor], make: Callable[[], Tensor]) -> Tensor:
        """The result of `make`, or that of the last call, if that had the same name and equal `sources`.

        It takes no gradient.
        """
        if any(source.device.type != "cpu" for source in sources) or _is_traced():
            with torch.no_grad():
                return make()
        with torch.inference_mode(False), torch.no_grad():
            made_from = [_Fingerprint(source.detach()) for source in sources]
            if self._result is None or what != self._what or made_from != self._made_from:
                self._result = make()
                self._made_from, self._what = made_from, what
        return self._result

    def __getstate__(self) -> dict[str, Any]:
        return Remembered().__dict__


class Changes:
    """Tells whether a tensor has changed since the last question.

    PyTorch counts changes, but not those of fused optimizers, through ``.data``, or of parameters that FSDP puts
    together. So the numbers are looked at until the count moves, and again where it stands still.
    """

    def __init__(self) -> None:
        self._version: int | None = None
        self._seen: _Fingerprint | None = None

    def since_last(self, tensor: Tensor) -> bool:
        """Whether it has; true at the first question, and while the network is traced."""
        if _is_traced():
            return True
        is_first, counted = self._version is None, tensor._version != self._version
        self._version = tensor._version
        if counted and not is_first:
            self._seen = None
            return True
        before, self._seen = self._seen, _Fingerprint(tensor.detach())
        return is_first or (before is not None and self._seen != before)


class _Fingerprint:
    def __init__(self, tensor: Tensor) -> None:
        flat = _flat(tensor)
        self.kind = (tensor.dtype, tensor.shape, tensor.stride())
        bits = flat.view(_BITS[flat.element_size()])
        self.sum = int(bits.sum(dtype=bits.dtype))
        rows, direction = len(flat) // _LENGTH, _direction(tensor.dtype)
        self.projections = [flat[: rows * _LENGTH].view(rows, _LENGTH) @ direction]
        self.projections.append(flat[rows * _LENGTH :] @ direction[: len(flat) - rows * _LENGTH])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Fingerprint)
            and (self.kind, self.sum) == (other.kind, other.sum)
            and all(torch.equal(a, b) for a, b in zip(self.projections, other.projections, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]


def _flat(tensor: Tensor) -> Tensor:
    """All numbers in the order in which they lie in memory; a copy where there are gaps."""
    if tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)):
        return tensor.as_strided((tensor.numel(),), (1,))
    return tensor.reshape(-1)


@cache
def _direction(dtype: torch.dtype) -> Tensor:
    return torch.randn(_LENGTH, generator=torch.Generator().manual_seed(0)).to(dtype)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()  # type: ignore[attr-defined, no-untyped-call]
