"""Kinds of fields that the parts of the ``"slb"`` section share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from nncf_slb.config.errors import refuse
from nncf_slb.config.patterns import scope_problem
from nncf_slb.search.values import MAX_VALUES, WIDTHS, ValuesName

LARGEST_COUNT = 2**31 - 1
LARGEST = 1e6  # of numbers that weights or gradients are multiplied by: float32 holds their products


def whole(value: Any) -> Any:
    """``2.0`` is an integer in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def whole_not_truth(value: Any) -> Any:
    """`whole`, for fields of a few numbers: there ``true`` would pass for 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("not_allowed", "not allowed")
    return whole(value)


def _one_mistake(value: Any, validate: Any) -> Any:
    """One mistake in place of one for each form of a field; the line for the user comes from the schema."""
    try:
        return validate(value)
    except ValidationError:
        raise PydanticCustomError("not_allowed", "not allowed") from None


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _scopes_that_end(value: tuple[str, ...] | str) -> tuple[str, ...]:
    """Scopes as a tuple, once all regular expressions are valid and end in reasonable time."""
    scopes: tuple[str, ...] = _alone_as_tuple(value)
    problems = [(index, scope_problem(scope)) for index, scope in enumerate(scopes)]
    refuse([(() if isinstance(value, str) else (index,), *problem) for index, problem in problems if problem])
    return scopes


def _alone_as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else _as_tuple(value)


def different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuses equal entries."""
    if len(set(values)) < len(values):
        raise ValueError
    return values


OneMistake = WrapValidator(_one_mistake)
AsTuple = BeforeValidator(_as_tuple)
Different = AfterValidator(different)
Unique = Field(json_schema_extra={"uniqueItems": True})

Whole = Annotated[int, Field(le=LARGEST_COUNT), BeforeValidator(whole)]
PositiveWhole = Annotated[int, Field(ge=1, le=LARGEST_COUNT), BeforeValidator(whole)]
LearningRateFactor = Annotated[float, Field(gt=0, le=LARGEST)]
Bits = Annotated[int, Field(ge=WIDTHS[0], le=WIDTHS[-1]), BeforeValidator(whole_not_truth)]
_Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
_Numbers = Annotated[tuple[_Number, ...], Field(min_length=2, max_length=MAX_VALUES), Unique, AsTuple, Different]
Values = Annotated[ValuesName | _Numbers, OneMistake]
_Decay = Annotated[float, Field(gt=0, lt=1)]
Average = Annotated[Literal["auto", "none"] | _Decay, OneMistake]
_Scope = Annotated[str, Field(min_length=1)]
Scopes = Annotated[_Scope | Annotated[tuple[_Scope, ...], AsTuple], OneMistake, AfterValidator(_scopes_that_end)]
SomeScopes = Annotated[
    _Scope | Annotated[tuple[_Scope, ...], Field(min_length=1), AsTuple], OneMistake, AfterValidator(_scopes_that_end)
]

SCOPE_HELP = "in NNCF's scope syntax: a layer's name, or `{re}` and a regular expression."


class Section(BaseModel):
    """A section of the config: unknown keys, wrong types and infinite numbers are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
