"""The form in which a stripped network is traced, which converters keep and a rewrite can recognise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.search.runtime import CodedWeight, FixedActivation


@contextmanager
def tracing_form(model: nn.Module) -> Iterator[None]:
    """Within it, coded weights give ``codes * scale``, and a sign is a quantization to 2 levels."""
    changed: list[tuple[Any, str]] = []
    for module in model.modules():
        if isinstance(module, FixedActivation):
            changed.append((module, "forward"))
            module.__dict__["forward"] = _quantization(module)
        elif isinstance(module, CodedWeight):
            changed.append((module, "decode"))
            module.__dict__["decode"] = partial(_codes_times_scale, module)
    try:
        yield
    finally:
        for module, name in changed:
            del module.__dict__[name]


def _codes_times_scale(module: CodedWeight) -> Tensor:
    return module.codes.to(module.scale.dtype) * module.scale


def _quantization(module: FixedActivation) -> Callable[[Tensor], Tensor]:
    """Its forward pass; the step is a number here, before a converter traces."""
    step = 1.0 if module.step is None else float(module.step)
    return lambda x: torch.fake_quantize_per_tensor_affine(x, step, 0, module.lowest, module.highest)
