"""What a run's checkpoint holds, checked as a whole before a run goes on with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from samples.training.checkpoint import load, refused
from samples.training.settings import SettingsError

VERSION = 2  # of what `RunState` holds; 1 had no position and said no version
# Settings that a resumed run may change; all others decide what network it is and how it is trained.
_MAY_CHANGE = {"epochs", "batch_size", "seed", "dataset", "num_classes", "input_info", "test_data", "strict"}
_ENDED = 2  # stage of a search
_Whole = Annotated[int, Field(ge=0)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


class Position(_Checked):
    """Where in an epoch a run is.

    Attributes:
        step: Steps done in the epoch.
        loss_sum: Sum of their losses.
        processes: Processes that trained together.
        codes: Codes of the searched weights at the beginning of the epoch, uint8, in the order of the network.
    """

    step: Annotated[int, Field(ge=1)]
    loss_sum: _Number
    processes: Annotated[int, Field(ge=1)]
    codes: list[Tensor]


class RunState(_Checked):
    """A run.

    Attributes:
        version: Of the checkpoint's form.
        model: State dict of the network.
        optimizers: State dict of each optimizer.
        epoch: Epochs done.
        position: Where in the next epoch the run is; None at its beginning.
        best: Best score of the validation so far, -1 before the first.
        compression_state: What the controller gave; None of a float network.
        rng: State of torch's generator, uint8.
        config: The config, as JSON.
    """

    model: dict[str, Tensor]
    optimizers: list[dict[str, Any]]
    epoch: _Whole
    best: _Number
    compression_state: dict[str, Any] | None
    rng: Tensor
    config: str
    position: Position | None = None
    version: Annotated[int, Field(ge=1, le=VERSION)] = 1

    @property
    def settings(self) -> dict[str, Any]:
        """The config."""
        found: dict[str, Any] = json.loads(self.config)
        return found


def read_run(path: Path) -> RunState:
    """Checkpoint of a run.

    Raises:
        CheckpointError: If it is none, in one line that names everything that is wrong.
    """
    content = load(path, tuple(name for name, field in RunState.model_fields.items() if field.is_required()))
    content["model"] = dict(content["model"]) if isinstance(content["model"], Mapping) else content["model"]
    try:
        state = RunState.model_validate(content)
    except ValidationError as error:
        raise refused(path, [_line(each) for each in error.errors()]) from None
    problems = list(_problems(state))
    if problems:
        raise refused(path, problems)
    return state


def _line(error: Any) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    received = error["input"]
    shown = repr(received) if isinstance(received, bool | int | float | str | None) else type(received).__name__
    if error["type"] == "extra_forbidden":
        return f"{place} does not belong there"
    return f"{place}: received {shown[:60]}; {error['msg'][0].lower()}{error['msg'][1:]}"


def _problems(state: RunState) -> Iterator[str]:
    try:
        if not isinstance(state.settings, dict):
            yield f"config: received JSON of {type(state.settings).__name__}; allowed is an object"
    except ValueError as error:
        yield f"config: received text that is not JSON ({error})"
    own = torch.get_rng_state()
    if state.rng.dtype != own.dtype or state.rng.shape != own.shape:
        yield f"rng: received {said(state.rng)}; allowed is {said(own)}"
    else:
        try:
            torch.Generator().set_state(state.rng)
        except RuntimeError as error:
            yield f"rng: no state of torch's generator ({_first_line(error)})"


def other_settings(state: RunState, config: Mapping[str, Any]) -> list[str]:
    """A line for each setting of a run that a config contradicts."""
    found = state.settings
    return [
        f"{name}: the run had {found.get(name)!r}; received {config.get(name)!r}"
        for name in sorted((set(found) | set(config)) - _MAY_CHANGE)
        if found.get(name) != config.get(name)
    ]


def position_problems(state: RunState, config: Mapping[str, Any], processes: int, steps: int) -> list[str]:
    """What keeps a run from going on where it is: its place in an epoch, and parts that contradict each other.

    Args:
        state: The run.
        config: The config to go on with.
        processes: Processes to go on with.
        steps: Optimizer steps of an epoch.
    """
    problems = []
    if (state.compression_state is None) == bool(config.get("compression")):
        problems.append(f"compression_state: received {type(state.compression_state).__name__}, unlike the config")
    if state.position is not None:
        problems += _order_problems(state, state.position, config, processes)
        if not problems and state.position.step > steps:
            problems.append(f"position.step: received {state.position.step}; allowed: at most {steps}")
    control = _control_state(state.compression_state)
    scheduler = control.get("scheduler_state")
    scheduler = scheduler if isinstance(scheduler, dict) else {}
    at_end, epoch = state.position is None, scheduler.get("current_epoch", state.epoch)
    if scheduler and epoch != (state.epoch - 1 if at_end else state.epoch):
        problems.append(f"epoch: received {state.epoch}, and a search in epoch {epoch}")
    return problems


def refuse_too_few_epochs(state: RunState, epochs: int) -> None:
    """A run cannot end before its search or in the middle of an epoch.

    Raises:
        SettingsError: If no epoch is left that would end it.
    """
    stage = _control_state(state.compression_state).get("compression_stage", _ENDED)
    if state.epoch >= epochs and (state.position is not None or getattr(stage, "value", stage) != _ENDED):
        raise SettingsError(
            f"epochs: received {epochs}, and the run has {state.epoch} epochs behind it without the end of its search; "
            f"allowed: at least {state.epoch + 1}"
        )


def _order_problems(state: RunState, at: Position, config: Mapping[str, Any], processes: int) -> list[str]:
    """Settings without which the rest of an epoch would be of other data than the beginning."""
    before = state.settings
    problems = [
        f"it is from the middle of epoch {state.epoch + 1}, with {name} {before.get(name)!r}; received "
        f"{config.get(name)!r}, which can change between epochs only"
        for name in ("seed", "dataset")
        if before.get(name) != config.get(name)
    ]
    together = at.processes * before.get("batch_size", 0)
    if together != processes * config["batch_size"]:
        problems.append(
            f"it is from the middle of epoch {state.epoch + 1}, with {together} images in a step; received "
            f"{processes} x {config['batch_size']}, which can change between epochs only"
        )
    return problems


def _control_state(state: Any) -> dict[str, Any]:
    """That of slb in a compression state, where it has one; what creates the network checks it."""
    for key in ("ctrl_state", "slb"):
        state = state.get(key) if isinstance(state, dict) else None
    return state if isinstance(state, dict) else {}


def network_problems(found: Any, network: nn.Module) -> list[str]:
    """What keeps a state dict from being that of a network: names, shapes, types and numbers."""
    own = network.state_dict()
    if not isinstance(found, Mapping):
        return [f"model: received {type(found).__name__}; allowed is a dictionary of tensors"]
    problems = [f"model lacks {name}" for name in own if name not in found]
    for name, tensor in found.items():
        if name not in own:
            problems.append(f"model.{name} belongs to another network")
        elif not isinstance(tensor, Tensor):
            problems.append(f"model.{name}: received {type(tensor).__name__}; allowed is a tensor")
        elif (tensor.dtype, tensor.shape) != (own[name].dtype, own[name].shape):
            problems.append(f"model.{name}: received {said(tensor)}; allowed is {said(own[name])}")
        elif tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            problems.append(f"model.{name}: {int((~tensor.isfinite()).sum())} numbers are not finite (NaN or infinity)")
        elif name.endswith(("running_var", "num_batches_tracked", "_extra_state")) and bool((tensor < 0).any()):
            problems.append(f"model.{name}: received negative numbers; allowed are numbers from 0 on")
    return problems


def said(value: Any) -> str:
    """Type and shape of a tensor, for messages; the type alone of others."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]
