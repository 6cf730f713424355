"""``weights.budget``: what the widths that are chosen by measurement may cost in all."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from nncf_slb.config.errors import refuse
from nncf_slb.config.fields import AsTuple, Bits, Different, OneMistake, PositiveWhole, Section, Unique, whole
from nncf_slb.search.values import WIDTHS

AUTO: Literal["auto"] = "auto"

BitsOrAuto = Annotated[Bits | Literal["auto"], OneMistake]


def _ascending(widths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(widths))


Candidates = Annotated[
    tuple[Bits, ...],
    Field(min_length=1, max_length=len(WIDTHS)),
    Unique,
    AsTuple,
    Different,
    AfterValidator(_ascending),
    OneMistake,
]


class BudgetConfig(Section):
    """Either `mean_bits` or `bytes`, and how many samples the measurement takes."""

    mean_bits: float | None = Field(
        default=None,
        ge=1,
        le=4,
        description='Largest mean of bits over the weights of all layers whose bits are "auto".',
    )
    bytes: Annotated[int, Field(ge=1, le=10**15), BeforeValidator(whole)] | None = Field(
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
