"""Kinds of fields that the parts of the ``"slb"`` section share."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from nncf_slb.config_errors import refuse
from nncf_slb.config_patterns import scope_problem
from nncf_slb.temperature import CURVES
from nncf_slb.values import MAX_VALUES, VALUE_SETS


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(value: Any) -> Any:
    """``2.0`` is an integer in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def whole_not_truth(value: Any) -> Any:
    """`whole`, for fields of a few numbers: there ``true`` would pass for 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("not_allowed", "not allowed")
    return whole(value)


def _check_values(value: Any) -> str | tuple[float, ...]:
    if isinstance(value, str) and value in VALUE_SETS:
        return value
    if isinstance(value, list | tuple) and 2 <= len(value) <= MAX_VALUES and all(map(_is_number, value)):
        numbers = tuple(float(number) for number in value)
        if len(set(numbers)) == len(numbers):
            return numbers
    raise PydanticCustomError("not_allowed", "not allowed")  # the line for the user comes from the schema


def _check_schedule(value: Any) -> str:
    if isinstance(value, str) and value in CURVES:
        return value
    raise PydanticCustomError("not_allowed", "not allowed")


def _check_scopes(value: Any) -> tuple[str, ...]:
    scopes = (value,) if isinstance(value, str) else value
    if not (isinstance(scopes, list | tuple) and all(isinstance(scope, str) and scope for scope in scopes)):
        raise PydanticCustomError("not_allowed", "not allowed")
    problems = [(index, scope_problem(scope)) for index, scope in enumerate(scopes)]
    refuse([(() if isinstance(value, str) else (index,), *problem) for index, problem in problems if problem])
    return tuple(scopes)


def _check_some_scopes(value: Any) -> tuple[str, ...]:
    scopes = _check_scopes(value)
    if not scopes:
        raise PydanticCustomError("not_allowed", "not allowed")
    return scopes


_VALUES_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "enum": list(VALUE_SETS)},
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": MAX_VALUES, "uniqueItems": True},
    ]
}
_SCHEDULE_SCHEMA: dict[str, Any] = {"type": "string", "enum": list(CURVES)}
_SCOPE_SCHEMA = {"type": "string", "minLength": 1}
_SCOPES_SCHEMA: dict[str, Any] = {"anyOf": [_SCOPE_SCHEMA, {"type": "array", "items": _SCOPE_SCHEMA}]}
_SOME_SCOPES_SCHEMA: dict[str, Any] = {"anyOf": [_SCOPE_SCHEMA, {**_SCOPES_SCHEMA["anyOf"][1], "minItems": 1}]}

Whole = Annotated[int, BeforeValidator(whole)]
PositiveWhole = Annotated[int, Field(ge=1), BeforeValidator(whole)]
Bits = Annotated[int, Field(ge=1, le=4), BeforeValidator(whole)]
Values = Annotated[str | tuple[float, ...], PlainValidator(_check_values), WithJsonSchema(_VALUES_SCHEMA)]
Schedule = Annotated[str, PlainValidator(_check_schedule), WithJsonSchema(_SCHEDULE_SCHEMA)]
Scale = Literal["per_channel", "per_channel_fixed", "none"]
Scopes = Annotated[tuple[str, ...], PlainValidator(_check_scopes), WithJsonSchema(_SCOPES_SCHEMA)]
SomeScopes = Annotated[tuple[str, ...], PlainValidator(_check_some_scopes), WithJsonSchema(_SOME_SCOPES_SCHEMA)]

SCOPE_HELP = "in NNCF's scope syntax: a layer's name, or `{re}` and a regular expression."


class Section(BaseModel):
    """A section of the config: unknown keys, wrong types and infinite numbers are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
