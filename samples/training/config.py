"""Keys of a sample's config: one pydantic model holds their types, defaults, checks and descriptions.

A task's own model is a subclass of `RunConfig` with its networks, data sets and further keys.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_type_hints

import torch
from pydantic import BaseModel, BeforeValidator, Field, PlainValidator, WithJsonSchema, create_model, model_validator
from pydantic_core import PydanticCustomError
from torch import nn

from nncf_slb.config.errors import Contradiction, refuse
from nncf_slb.config.fields import PositiveWhole, Section, whole
from nncf_slb.config.outside import TopLevelConfig, section_problems

Config = Mapping[str, Any]
Schedule = Literal["constant", "cosine", "step", "multistep"]
_LARGEST_SIZE = 10000
_NO_DECAY = "Drawn towards 0 by this share of a parameter."
# Settings that only one schedule reads.
_SCHEDULE_OF = {"step": ("step",), "steps": ("multistep",), "gamma": ("step", "multistep")}


def _check_numbers(value: Any, valid: Callable[[Any], bool]) -> tuple[Any, ...]:
    if isinstance(value, list | tuple) and value and all(not isinstance(n, bool) and valid(n) for n in value):
        return tuple(value)
    raise PydanticCustomError("not_allowed", "not allowed")  # the line for the user comes from the schema


def _check_steps(value: Any) -> tuple[int, ...]:
    steps = [whole(step) for step in value] if isinstance(value, list | tuple) else value
    numbers = _check_numbers(steps, lambda step: isinstance(step, int) and step > 0)
    if sorted(set(numbers)) != list(numbers):
        raise PydanticCustomError("not_allowed", "not allowed")
    return numbers


def _check_betas(value: Any) -> tuple[float, ...]:
    numbers = _check_numbers(value, lambda beta: isinstance(beta, int | float) and 0 <= beta < 1)
    if len(numbers) != 2:
        raise PydanticCustomError("not_allowed", "not allowed")
    return numbers


def _check_pair(value: Any) -> tuple[int, ...]:
    numbers = _check_numbers(value, lambda number: isinstance(number, int) and 0 < number <= _LARGEST_SIZE)
    if len(numbers) != 2:
        raise PydanticCustomError("not_allowed", "not allowed")
    return numbers


def _list_of(check: Callable[[Any], Any], allowed: str) -> Any:
    return Annotated[Any, PlainValidator(check), WithJsonSchema({"allowed": allowed})]


Steps = _list_of(_check_steps, "a non-empty list of ascending epochs, integers above 0")
Betas = _list_of(_check_betas, "a list of two numbers from 0 to below 1")
Pair = _list_of(_check_pair, f"a list of two integers from 1 to {_LARGEST_SIZE}")


class SGDParams(Section):
    """Arguments of `torch.optim.SGD`."""

    momentum: float = Field(default=0.0, ge=0, lt=1, description="Share of the former step in each step.")
    dampening: float = Field(default=0.0, ge=0, le=1, description="Share of the gradient that momentum leaves out.")
    weight_decay: float = Field(default=0.0, ge=0, le=1e3, description=_NO_DECAY)
    nesterov: bool = Field(default=False, description="Nesterov's momentum.")

    @model_validator(mode="after")
    def _check(self) -> SGDParams:
        if self.nesterov and (not self.momentum or self.dampening):
            refuse([(("nesterov",), "true only with a momentum above 0 and no dampening", "Change one of them")])
        return self


class AdamParams(Section):
    """Arguments of `torch.optim.Adam` and `torch.optim.AdamW`."""

    betas: Betas = Field(default=(0.9, 0.999), description="Decay of the means of gradients and their squares.")
    eps: float = Field(default=1e-8, gt=0, le=1, description="Added to the divisor.")
    weight_decay: float = Field(default=0.0, ge=0, le=1e3, description=_NO_DECAY)
    amsgrad: bool = Field(default=False, description="The variant AMSGrad.")


# Optimizers by the name that `type` takes, and what `optimizer_params` may hold.
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], type[Section]]] = {
    "SGD": (torch.optim.SGD, SGDParams),
    "Adam": (torch.optim.Adam, AdamParams),
    "AdamW": (torch.optim.AdamW, AdamParams),
}


class OptimizerConfig(Section):
    """An optimizer and the course of its learning rate."""

    type: Literal[tuple(OPTIMIZERS)] = Field(description="Class of `torch.optim`.")  # type: ignore[valid-type]
    base_lr: float = Field(gt=0, le=1e6, description="Learning rate at the beginning.")
    schedule_type: Schedule = Field(default="constant", description="Course of the learning rate over the epochs.")
    steps: Steps = Field(default=(), description="Epochs at which the rate steps. Only with schedule multistep.")
    step: PositiveWhole = Field(default=30, description="Epochs from one step to the next. Only with schedule step.")
    gamma: float = Field(default=0.1, gt=0, le=1, description="Factor of the rate at each step. Only with steps.")
    optimizer_params: dict[str, Any] = Field(
        default={}, description="Further arguments of the class.", json_schema_extra={"allowed": "an object"}
    )

    @model_validator(mode="after")
    def _check(self) -> OptimizerConfig:
        problems: list[Contradiction] = [
            ((key,), f"none with schedule_type {self.schedule_type}", "Remove it, or change schedule_type")
            for key, schedules in _SCHEDULE_OF.items()
            if key in self.model_fields_set and self.schedule_type not in schedules
        ]
        if self.schedule_type == "multistep" and not self.steps:
            problems.append((("steps",), "a list of epochs with schedule_type multistep", "Add it"))
        refuse(problems)
        return self


class RunConfig(TopLevelConfig):
    """Keys that all samples read, beside NNCF's."""

    model: str = Field(min_length=1, description="Network.")
    model_params: dict[str, Any] = Field(
        default={}, description="Arguments of the network.", json_schema_extra={"allowed": "an object"}
    )
    dataset: str = Field(min_length=1, description="Data set.")
    seed: Annotated[int, Field(ge=0, le=2**63 - 1), BeforeValidator(whole)] = Field(
        default=0,
        description="Seed of all random choices.",
        json_schema_extra={"allowed": "an integer from 0 to 2**63 - 1"},
    )
    epochs: PositiveWhole = Field(description="Training epochs.")
    batch_size: PositiveWhole = Field(description="Images in a batch, in each process.")
    optimizer: OptimizerConfig = Field(
        description="Optimizer of the network, and of logits that have none of their own."
    )
    logits_optimizer: OptimizerConfig | None = Field(default=None, description="Optimizer of slb's logits.")


def optimizer_problems(config: Config) -> list[str]:
    """Problems inside ``optimizer_params``, which depend on the type."""
    problems: list[str] = []
    for name in ("optimizer", "logits_optimizer"):
        section = config.get(name)
        if not isinstance(section, dict):
            continue
        kind, params = section.get("type"), section.get("optimizer_params")
        if isinstance(kind, str) and kind in OPTIMIZERS and isinstance(params, dict):
            problems += section_problems(OPTIMIZERS[kind][1], params, f"{name}.optimizer_params")
    return problems


def network_problems(
    make: Callable[..., nn.Module], params: Any, others: Config, shape: Sequence[int] | None
) -> list[str]:
    """Problems inside ``model_params``: by the types of the arguments, then by a network without memory for weights.

    Args:
        make: Class of the network.
        params: The config's ``model_params``.
        others: The arguments that come from elsewhere.
        shape: Channels, height and width of an image that it must take; None where that is not known.
    """
    problems = section_problems(_model_of(make, others), params, "model_params")
    if problems:
        return problems
    try:
        with torch.device("meta"), torch.no_grad():
            network = make(**others, **params).eval()
    except (TypeError, ValueError) as error:  # the networks' own checks name the argument
        return [f"model_params.{error}"]
    if shape is None:
        return []
    try:
        network(torch.zeros(1, *shape, device="meta"))
    except (RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        return [f"model_params: received {json.dumps(params)}; allowed: those of a network for images of {list(shape)} "
                f"(channels, height, width). Change them ({reason})"]  # fmt: skip
    return []


Size = Annotated[int, Field(ge=1, le=_LARGEST_SIZE), BeforeValidator(whole)]
_KINDS: dict[Any, Any] = {int: Size, tuple[int, int]: Pair}


def _model_of(make: Callable[..., nn.Module], others: Config) -> type[BaseModel]:
    """Pydantic model of a network's arguments, without those that come from elsewhere."""
    hints = get_type_hints(make.__init__)  # type: ignore[misc]
    fields: dict[str, Any] = {
        name: (_KINDS.get(hints[name], hints[name]), parameter.default)
        for name, parameter in inspect.signature(make).parameters.items()
        if name not in others
    }
    return create_model(f"{make.__name__}Params", __base__=Section, **fields)  # type: ignore[no-any-return]


def input_size_problems(config: Config, shape: tuple[int, int, int], words: str, any_size: bool = False) -> list[str]:
    """What does not fit in ``input_info`` to networks with one image as their input.

    Args:
        config: A config whose `input_info` has the right types.
        shape: Channels, height and width.
        words: What the shape is of.
        any_size: Whether height and width may be others.
    """
    inputs = config.get("input_info", [])
    sections = inputs if isinstance(inputs, list) else [inputs]
    problems = []
    if len(sections) > 1:
        problems.append(f"input_info: received {len(sections)} inputs; allowed: one. Remove the others")
    for section in sections:
        size = section["sample_size"]
        if len(size) != 4 or size[1] != shape[0] or not (any_size or tuple(size[1:]) == shape):
            allowed = f"[1, {', '.join(map(str, shape))}] (batch, {words})"
            problems.append(
                f"input_info.sample_size: received {size}; allowed: {allowed}. Change it, or remove input_info"
            )
        for key, value in (("type", "float"), ("keyword", "x")):
            if section.get(key, value) != value:
                problems.append(f'input_info.{key}: received "{section[key]}"; allowed: "{value}". Remove it')
    return problems
