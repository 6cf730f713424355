"""``weights.budget``: what the widths that are chosen by measurement may cost in all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from nncf_slb.config.errors import refuse
from nncf_slb.config.fields import PositiveWhole, Section, whole

AUTO: Literal["auto"] = "auto"
_WIDTHS = (1, 2, 3, 4)
_WIDTH_SCHEMA = {"type": "integer", "minimum": min(_WIDTHS), "maximum": max(_WIDTHS)}


def _width(value: Any) -> int:
    number = whole(value)
    if isinstance(number, int) and not isinstance(number, bool) and number in _WIDTHS:
        return number
    raise PydanticCustomError("not_allowed", "not allowed")  # the line for the user comes from the schema


def _check_bits(value: Any) -> Any:
    return AUTO if value == AUTO else _width(value)


def _check_candidates(value: Any) -> tuple[int, ...]:
    if isinstance(value, list | tuple) and value:
        widths = tuple(sorted(map(_width, value)))
        if len(set(widths)) == len(widths):
            return widths
    raise PydanticCustomError("not_allowed", "not allowed")


_BITS_SCHEMA: dict[str, Any] = {
    "anyOf": [_WIDTH_SCHEMA, {"type": "string", "enum": [AUTO]}, {"type": "null"}],
}
_CANDIDATES_SCHEMA: dict[str, Any] = {
    "type": "array", "items": _WIDTH_SCHEMA, "minItems": 1, "maxItems": len(_WIDTHS), "uniqueItems": True
}  # fmt: skip

BitsOrAuto = Annotated[int | Literal["auto"], PlainValidator(_check_bits), WithJsonSchema(_BITS_SCHEMA)]
Candidates = Annotated[tuple[int, ...], PlainValidator(_check_candidates), WithJsonSchema(_CANDIDATES_SCHEMA)]


def default_candidates(values: Any) -> tuple[int, ...]:
    """Widths that a named set of values can have, in bits, ascending."""
    return {"zero_centered": _WIDTHS[1:], "ternary": (2,)}.get(values, _WIDTHS)


class BudgetConfig(Section):
    """Either `mean_bits` or `bytes`, and how many samples the measurement takes."""

    mean_bits: float | None = Field(
        default=None,
        ge=1,
        le=4,
        description='Largest mean of bits over the weights of all layers whose bits are "auto".',
    )
    bytes: PositiveWhole | None = Field(
        default=None,
        description="Largest size of the whole `.bin` file of the exported IR, with scales and all that stays in "
        "32 bits. Only for the CPU: IR for other devices stores every code in 4 bits.",
    )
    samples: PositiveWhole = Field(
        default=512,
        description="Samples of the registered data loader that the sensitivity of the layers is measured on, rounded "
        "up to whole batches. Labels are not used.",
    )

    @model_validator(mode="after")
    def _check(self) -> BudgetConfig:
        if self.mean_bits is None and self.bytes is None:
            refuse([((), "an object with either mean_bits or bytes", "Add one of them")])
        if self.mean_bits is not None and self.bytes is not None:
            refuse([(("bytes",), "either mean_bits or bytes, not both", "Remove one")])
        return self
