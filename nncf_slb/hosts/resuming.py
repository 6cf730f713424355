"""Bits from the compression state of a checkpoint, also of one that another host wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nncf_slb.bits.choice import ChosenBits
from nncf_slb.config.errors import ConfigError
from nncf_slb.errors import SettingError
from nncf_slb.search.searchable import SearchableWeight

_NAME = "slb"
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Scheduler(_Part):
    current_step: Annotated[int, Field(ge=-1)]
    current_epoch: Annotated[int, Field(ge=-1)]
    step_in_epoch: Annotated[int, Field(ge=-1)]
    steps_per_epoch: Annotated[int, Field(ge=1)] | None
    is_over: bool


class _Control(_Part):
    scheduler_state: _Scheduler
    compression_stage: Any
    loss_state: None = None  # of NNCF's own interface

    @field_validator("compression_stage")
    @classmethod
    def _check_stage(cls, stage: Any) -> Any:
        if getattr(stage, "value", stage) not in (0, 1, 2):
            raise ValueError("allowed are the stages 0, 1 and 2")
        return stage


class _Meaning(_Part):
    values: list[_Finite]
    step: _Finite
    sharpness: _Finite


class _Chosen(_Part):
    bits: dict[str, Annotated[int, Field(ge=1, le=8)]] = {}
    sensitivities: dict[str, dict[int | str, _Finite]] = {}
    meanings: dict[str, _Meaning] = {}


class _Builders(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    slb: _Chosen


class _Controllers(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    slb: _Control


class _State(_Part):
    """A compression state; what it holds of other algorithms is theirs to check."""

    builder_state: _Builders
    ctrl_state: _Controllers

    @model_validator(mode="after")
    def _check(self) -> _State:
        if set(self.builder_state.model_extra or ()) != set(self.ctrl_state.model_extra or ()):
            raise ValueError("allowed are the same algorithms in builder_state and ctrl_state")
        return self


def state_of_slb(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a compression state that says what was chosen when the network was created.

    Raises:
        SettingError: If it is no compression state of slb, in one line that names what is wrong.
    """
    try:
        _State.model_validate(dict(state) if isinstance(state, Mapping) else state)
    except ValidationError as error:
        first, *others = error.errors()
        place = ".".join(map(str, first["loc"]))
        more = f" (and {len(others)} more)" if others else ""
        raise SettingError(
            f"compression_state{'.' if place else ''}{place}: received {_shown(first)}; {first['msg']}{more}. Allowed "
            "is what get_compression_state() gave"
        ) from None
    return state["builder_state"][_NAME]  # type: ignore[no-any-return]


def _shown(error: Any) -> str:
    """What was received where, for a message."""
    if error["type"] == "missing":
        return "nothing"
    received = error["input"]
    return repr(received)[:60] if isinstance(received, str | int | float | None) else type(received).__name__


def refuse_other_algorithms(state: Mapping[str, Any], names: Iterable[str]) -> None:
    """Check that a compression state is one of all algorithms of a config, or of slb alone, as other hosts write it.

    Args:
        state: The state.
        names: The algorithms.

    Raises:
        SettingError: If it is another one.
    """
    for part in ("builder_state", "ctrl_state"):
        received = state.get(part) if isinstance(state, Mapping) else None
        if not isinstance(received, Mapping) or set(received) not in ({_NAME}, set(names)):
            shown = sorted(map(str, received)) if isinstance(received, Mapping) else type(received).__name__
            raise SettingError(
                f"compression_state.{part}: received {shown}; allowed are the algorithms of the config, "
                f"{sorted(names)}, in what get_compression_state() gave"
            )


def meanings(weights: Mapping[str, SearchableWeight]) -> dict[str, Any]:
    """What a state dict of searched weights means, by the host's names: the same numbers mean others elsewhere."""
    return {
        name: {"values": list(weight.values.table), "step": weight.values.step, "sharpness": weight.kind[2]}
        for name, weight in weights.items()
    }


def refuse_other_meanings(state: Mapping[str, Any], weights: Mapping[str, SearchableWeight], where: str) -> None:
    """Check that searched weights mean what those of a compression state did.

    Args:
        state: The part of slb, as from `state_of_slb`.
        weights: Searched weights by this host's names.
        where: Path of the section, for messages.

    Raises:
        ConfigError: With a line for each layer and setting that differ.
    """
    before = state.get("meanings", {})
    by_path = {plain_path(name): meaning for name, meaning in before.items()}
    problems = []
    for name, meaning in meanings(weights).items():
        stored = before.get(name) or by_path.get(plain_path(name)) or ({} if before else meaning)
        if not stored:
            problems.append(
                f"{where}: received a network with {name}, and a compression state without it; allowed: the same "
                "layers. Use the config and the network that the checkpoint was made with"
            )
            continue
        for setting, place in (("values", "weights.values and bits"), ("step", "weights.values and bits"),
                               ("sharpness", "initializer.sharpness")):  # fmt: skip
            if stored[setting] != meaning[setting]:
                problems.append(
                    f"{where}.{place}: received {setting} {meaning[setting]} for {name}, and a compression state with "
                    f"{stored[setting]}; allowed: the same. Use the config that the checkpoint was made with"
                )
    if problems:
        raise ConfigError(problems)


def plain_path(name: str) -> str:
    """Path of a module from NNCF 2.19's name of its node: ``Net/NNCFConv2d[conv]/conv2d_0`` is ``conv``."""
    return ".".join(re.findall(r"\[([^\]]+)\]", name)) or name


def bits_by_path(bits: Mapping[str, int], paths: Iterable[str]) -> dict[str, int]:
    """Bits by this host's names, from those of any host; names that mean no layer here are left out."""
    known = set(paths)
    renamed = {name if name in known else plain_path(name): number for name, number in bits.items()}
    return {name: number for name, number in renamed.items() if name in known}


def chosen_bits(state: Mapping[str, Any], paths: Iterable[str], needed: Iterable[str], where: str) -> ChosenBits:
    """Bits that a compression state holds.

    Args:
        state: The compression state.
        paths: This host's names of the layers.
        needed: Those whose bits are ``auto``.
        where: Path of ``weights`` in the config, for messages.

    Raises:
        ConfigError: Naming the layers that the state holds no bits for.
        SettingError: If it is no compression state of slb.
    """
    chosen = ChosenBits.from_state(state_of_slb(state))
    bits = bits_by_path(chosen.bits, paths)
    refuse_missing(bits, needed, where)
    return ChosenBits(bits, chosen.sensitivities)


def refuse_missing(bits: Mapping[str, int], needed: Iterable[str], where: str) -> None:
    """Check that a state holds the bits of all layers that need them; arguments and error as for `chosen_bits`."""
    missing = [name for name in needed if name not in bits]
    if missing:
        raise ConfigError([
            f'{where}.bits: received "auto" and a compression state without bits for {", ".join(missing)}; allowed: '
            "the state of a model that was created with the same layers and bits. Use the config that the checkpoint "
            "was made with"
        ])  # fmt: skip
