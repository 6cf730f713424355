"""Distillation: the float network as the teacher of the searched one, with NNCF 2.19's losses.

Source of the formulas: NNCF 2.19, ``knowledge_distillation_loss.py``; Hinton et al., "Distilling the Knowledge in a
Neural Network", 2015.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nncf_slb.config.distillation import DistillationConfig
from nncf_slb.search.outputs import floating_outputs

_CLASSES = 2  # dimensions of outputs that are classes


class Teacher:
    """Runs beside a network's training passes, and keeps the loss of the last of them.

    Args:
        network: Float network; in training mode while it teaches, as in NNCF.
        settings: Kind, scale and temperature.
    """

    def __init__(self, network: nn.Module, settings: DistillationConfig) -> None:
        self._network, self._settings = network.requires_grad_(False).train(), settings
        self._loss: Tensor | None = None

    def teach(self, student: nn.Module) -> None:
        """From now on follow a network's training passes."""
        student.register_forward_hook(_Lesson(self), with_kwargs=True)

    @staticmethod
    def leave(student: nn.Module) -> None:
        """Undo `teach`, in a network or a copy of it."""
        for key in [key for key, hook in student._forward_hooks.items() if isinstance(hook, _Lesson)]:
            del student._forward_hooks[key]
            student._forward_hooks_with_kwargs.pop(key, None)

    def take_loss(self) -> Tensor | None:
        """Loss of the last training pass, a scalar with its graph; None where none has been since the last call."""
        loss, self._loss = self._loss, None
        return loss

    def follow(self, args: Any, kwargs: Any, outputs: Any) -> None:
        """Compare a training pass."""
        with torch.no_grad():
            wanted = floating_outputs(self._network(*args, **kwargs))
        pairs = zip(wanted, floating_outputs(outputs), strict=True)
        self._loss = torch.stack([self._distance(a, b) for a, b in pairs]).sum()

    def _distance(self, wanted: Tensor, given: Tensor) -> Tensor:
        settings = self._settings
        if settings.type == "mse":
            return settings.scale * functional.mse_loss(given, wanted)
        if given.dim() != _CLASSES:
            return given.new_zeros(())
        temperature = settings.temperature
        cross = (given / temperature).log_softmax(1) * (wanted / temperature).softmax(1)
        return -settings.scale * cross.sum(1).mean() * temperature**2


class _Lesson:
    """Forward hook; in a copied or pickled network nobody teaches."""

    def __init__(self, teacher: Teacher | None) -> None:
        self._teacher = teacher

    def __call__(self, student: nn.Module, args: Any, kwargs: Any, outputs: Any) -> None:
        if self._teacher is not None and student.training and torch.is_grad_enabled():
            self._teacher.follow(args, kwargs, outputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Lesson:
        return _Lesson(None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Lesson, (None,)
