"""Optimizers of a run: one for the network, and one of their own for the logits where the config has one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

import nncf_slb
from samples.training.config import OPTIMIZERS
from samples.training.optimizer_state import state_problems


def learning_rate(config: dict[str, Any], epoch: int, epochs: int) -> float:
    """Rate in an epoch (zero-based): a pure function, so that a resumed run needs no state."""
    rate, schedule = float(config["base_lr"]), config.get("schedule_type", "constant")
    if schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
    if schedule == "step":
        return rate * float(config.get("gamma", 0.1)) ** (epoch // int(config.get("step", 30)))
    if schedule == "multistep":
        return rate * float(config.get("gamma", 0.1)) ** sum(epoch >= s for s in config.get("steps", []))
    return rate


class Optimizers:
    """All optimizers of a run behind one interface."""

    def __init__(self, model: nn.Module, config: dict[str, Any]) -> None:
        logits, others = nncf_slb.parameter_groups(model)
        self._epochs = config["epochs"]
        own = config.get("logits_optimizer")
        parts = [(others, config["optimizer"]), (logits, own)] if own else [(others + logits, config["optimizer"])]
        self._parts = [
            (OPTIMIZERS[part["type"]][0](parameters, lr=part["base_lr"], **part.get("optimizer_params", {})), part)
            for parameters, part in parts
            if parameters
        ]

    def set_epoch(self, epoch: int) -> float:
        """Set the rates of an epoch and return that of the network."""
        for optimizer, part in self._parts:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(part, epoch, self._epochs)
        return float(self._parts[0][0].param_groups[0]["lr"])

    def step(self, loss: torch.Tensor) -> None:
        """One step against the gradient of `loss`."""
        for optimizer, _ in self._parts:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer, _ in self._parts:
            optimizer.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """State of each optimizer."""
        return [optimizer.state_dict() for optimizer, _ in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]], begun: bool) -> list[str]:
        """Continue from `state_dict`, unless something is wrong with it.

        Args:
            states: State of each optimizer.
            begun: Whether a step has been taken.

        Returns:
            What is wrong, one line each.
        """
        own = [optimizer for optimizer, _ in self._parts]
        problems = state_problems(states, own, begun)
        if not problems:
            for optimizer, state in zip(own, states, strict=True):
                optimizer.load_state_dict(state)
        return problems
