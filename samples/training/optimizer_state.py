"""Whether the state of an optimizer from a checkpoint is one of this optimizer, of these parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from samples.training.state import said

State = dict[Any, Any]
_ADAM = {"step", "exp_avg", "exp_avg_sq"}
_SIGNED = {"exp_avg", "momentum_buffer"}  # all other entries are from 0 on


def state_problems(states: list[State], optimizers: list[torch.optim.Optimizer], begun: bool) -> list[str]:
    """A line for each problem.

    Args:
        states: State dict of each optimizer.
        optimizers: The optimizers.
        begun: Whether a step has been taken.
    """
    if len(states) != len(optimizers):
        return [f"optimizers: received {len(states)}; allowed: {len(optimizers)}, as in the config"]
    return [
        f"optimizers[{index}].{problem}"
        for index, (state, optimizer) in enumerate(zip(states, optimizers, strict=True))
        for problem in _of_optimizer(state, optimizer, begun)
    ]


def _of_optimizer(state: State, optimizer: torch.optim.Optimizer, begun: bool) -> Iterator[str]:
    own = optimizer.state_dict()["param_groups"]
    for key in sorted({str(key) for key in state} ^ {"state", "param_groups"}):
        yield f"{key} is {_excess(key, ('state', 'param_groups'))}"
    groups, parameters = state.get("param_groups"), state.get("state")
    if not isinstance(groups, list) or len(groups) != len(own) or not all(isinstance(g, dict) for g in groups):
        yield f"param_groups: received {type(groups).__name__}; allowed is a list of {len(own)} dictionaries"
    else:
        for index, (group, expected) in enumerate(zip(groups, own, strict=True)):
            yield from (f"param_groups[{index}].{problem}" for problem in _of_group(group, expected))
    if not isinstance(parameters, dict):
        yield f"state: received {type(parameters).__name__}; allowed is a dictionary"
    else:
        yield from (f"state{problem}" for problem in _of_parameters(parameters, optimizer, begun))


def _of_group(group: State, expected: State) -> Iterator[str]:
    for key in sorted({str(key) for key in group} ^ set(expected)):
        yield f"{key} is {_excess(key, expected)}"
    for key in expected:
        received = group.get(key, expected[key])
        if key == "lr":  # another one in each epoch
            good = isinstance(received, float) and math.isfinite(received) and received >= 0
        else:
            good = type(received) is type(expected[key]) and received == expected[key]
        if not good:
            allowed = "a number from 0 on" if key == "lr" else f"{expected[key]}, as in the config"
            yield f"{key}: received {str(received)[:60]}; allowed is {allowed}"


def _of_parameters(state: State, optimizer: torch.optim.Optimizer, begun: bool) -> Iterator[str]:
    numbered = enumerate((parameter, group) for group in optimizer.param_groups for parameter in group["params"])
    parameters = {index: (parameter, _entries(optimizer, group)) for index, (parameter, group) in numbered}
    needed = {index for index, (parameter, entries) in parameters.items() if parameter.requires_grad and entries}
    if begun and (missing := sorted(needed - set(state))):
        yield f" lacks the parameters {', '.join(map(str, missing))}"
    for index, received in state.items():
        if index not in parameters or not isinstance(received, dict):
            yield f"[{index!r}] is of another network, or no dictionary"
            continue
        parameter, names = parameters[index]
        for name in sorted({str(key) for key in received} ^ names):
            yield f"[{index}].{name} is {_excess(name, names)}"
        for name in sorted(names & set(received)):
            expected = torch.zeros(()) if name == "step" else parameter
            if problem := _of_entry(received[name], expected, name in _SIGNED):
                yield f"[{index}].{name}: {problem}"


def _entries(optimizer: torch.optim.Optimizer, group: State) -> set[str]:
    """Names of what an optimizer keeps for each parameter."""
    if isinstance(optimizer, torch.optim.SGD):
        return {"momentum_buffer"} if group["momentum"] else set()
    return _ADAM | ({"max_exp_avg_sq"} if group["amsgrad"] else set())


def _of_entry(received: Any, expected: Tensor, signed: bool) -> str | None:
    if not isinstance(received, Tensor) or (received.dtype, received.shape) != (expected.dtype, expected.shape):
        return f"received {said(received)}; allowed is {said(expected)}"
    if not bool(received.isfinite().all()):
        return "received numbers that are not finite (NaN or infinity)"
    if not signed and bool((received < 0).any()):
        return "received negative numbers; allowed are numbers from 0 on"
    return None


def _excess(key: str, allowed: Any) -> str:
    return "missing" if key in allowed else "none of this optimizer's"
