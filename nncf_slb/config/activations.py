"""``activations``: how the inputs of the searched layers are quantized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from nncf_slb.config.errors import Contradiction, Location, refuse
from nncf_slb.config.fields import SCOPE_HELP, Section, SomeScopes, whole_not_truth
from nncf_slb.search.choices import ActivationMode, SignMode, StepMode

FULL_PRECISION: Literal[32] = 32
ActivationBits = Annotated[Literal[1, 2, 4, 8, 32], BeforeValidator(whole_not_truth)]
_EDGE_BITS = 8
_SIGN_MODES: tuple[SignMode, ...] = get_args(SignMode)
_STEP_MODES: tuple[StepMode, ...] = get_args(StepMode)

_BITS_HELP = "Bits of each input value of a searched layer; 1 is its sign, 32 leaves it as it is."
_MODE_HELP = (
    "How the inputs are rounded and how gradients pass. With 1 bit: `sign_polynomial` (gradient of a piecewise "
    "polynomial, Bi-Real Net) or `sign_clipped` (1 between -1 and 1, else 0). With 2, 4 and 8 bits: `lsq` learns the "
    "step between two levels, `pact` learns the value from which on inputs are clipped."
)
_SIGNED_HELP = "Whether negative inputs have levels of their own. Only with 2, 4 or 8 bits."


@dataclass(frozen=True)
class ResolvedActivations:
    """Settings of one layer's input.

    Attributes:
        bits: 1, 2, 4 or 8; 32 for full precision.
        mode: One of the modes of the config; None for full precision.
        signed: Whether negative inputs have levels; None decides from data.
    """

    bits: int
    mode: ActivationMode | None
    signed: bool | None

    def of_edge(self) -> ResolvedActivations:
        """Settings of a first or last layer in 8 bits: its inputs have as many where those of others are quantized."""
        return self if self.bits == FULL_PRECISION else ResolvedActivations(_EDGE_BITS, _STEP_MODES[0], None)


def modes_of(bits: int) -> tuple[ActivationMode, ...]:
    """Modes that a number of bits allows, the default first."""
    if bits == FULL_PRECISION:
        return ()
    return _SIGN_MODES if bits == 1 else _STEP_MODES


class ActivationsOverride(Section):
    """Other settings for the inputs of the layers in `target_scopes`; None inherits from the enclosing section."""

    target_scopes: SomeScopes = Field(description=f"Layers that these settings are for, {SCOPE_HELP}")
    bits: ActivationBits | None = Field(
        default=None, description="Bits of each input value. If left out: as in `activations`."
    )
    mode: ActivationMode | None = Field(
        default=None,
        description="How the inputs are rounded. If left out: as in `activations` where the bits allow it, else the "
        "default of the bits.",
    )
    signed: bool | None = Field(
        default=None, description="Whether negative inputs have levels. If left out: as in `activations`."
    )


class ActivationsConfig(Section):
    """How the inputs of the searched layers are quantized, for all layers and, by `overrides`, for some."""

    bits: ActivationBits = Field(default=FULL_PRECISION, description=_BITS_HELP)
    mode: ActivationMode | None = Field(
        default=None, description=f"{_MODE_HELP} If left out: `sign_polynomial` with 1 bit, else `lsq`."
    )
    signed: bool | None = Field(default=None, description=f"{_SIGNED_HELP} If left out: true where data is negative.")
    overrides: list[ActivationsOverride] = Field(
        default=[],
        description="Other settings for some layers. The first override whose `target_scopes` match a layer wins.",
    )

    @model_validator(mode="after")
    def _check(self) -> ActivationsConfig:
        contradictions = _contradictions(self.bits, self.mode, self.signed, ())
        for index, override in enumerate(self.overrides):
            bits = override.bits or self.bits
            contradictions += _contradictions(bits, override.mode, override.signed, ("overrides", index))
        refuse(contradictions)
        return self

    def resolve(self, match: Callable[[list[str]], bool]) -> ResolvedActivations:
        """Settings of one layer.

        Args:
            match: Tells whether a list of scopes includes the layer.
        """
        for override in self.overrides:
            if match(list(override.target_scopes)):
                signed = self.signed if override.signed is None else override.signed
                return _resolved(override.bits or self.bits, override.mode or self.mode, signed)
        return _resolved(self.bits, self.mode, self.signed)


def _resolved(bits: int, mode: ActivationMode | None, signed: bool | None) -> ResolvedActivations:
    modes = modes_of(bits)
    default = modes[0] if modes else None
    return ResolvedActivations(bits, mode if mode in modes else default, signed if modes == _STEP_MODES else None)


def _contradictions(
    bits: int, mode: ActivationMode | None, signed: bool | None, location: Location
) -> list[Contradiction]:
    contradictions: list[Contradiction] = []
    modes = modes_of(bits)
    if mode is not None and mode not in modes:
        allowed = f"{' or '.join(modes)} with {bits} bits" if modes else "none with 32 bits, which quantize nothing"
        contradictions.append(((*location, "mode"), allowed, "Remove it, or change the bits"))
    if signed is not None and modes != _STEP_MODES:
        contradictions.append(((*location, "signed"), f"none with {bits} bits", "Remove it, or use 2, 4 or 8 bits"))
    return contradictions
