"""``weights``: which values the searched weights can take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from nncf_slb.config.budget import AUTO, BitsOrAuto, BudgetConfig, Candidates, default_candidates
from nncf_slb.config.errors import Contradiction, Location, refuse
from nncf_slb.config.fields import SCOPE_HELP, Bits, Scale, Section, SomeScopes, Values
from nncf_slb.search.values import LEAST_DISTANCE, MAX_VALUES, are_distinct, bits_for_count

_BITS = 2
_BITS_HELP = "Storage bits of one weight."
_VALUES_HELP = (
    "Values a weight can take, before the scale: `uniform` is 2^bits evenly spaced numbers from -1 to 1, as in the "
    "paper; `zero_centered` is 2^bits evenly spaced numbers from -1 up to just below 1, zero included (2 bits or "
    "more); `ternary` is -1, 0, 1 (2 bits); `power_of_two` is zero and signed powers of two up to 1 (with 1 bit, -1 "
    "and 1); or your own list."
)
_SCALE_HELP = (
    "`per_channel` learns one factor for each output channel; `per_channel_fixed` keeps the one of least squared error "
    "that it begins with; `none` has no factor, as in the paper, where batch norm takes its place."
)


@dataclass(frozen=True)
class ResolvedWeights:
    """Settings of one layer's weights.

    Attributes:
        bits: Storage bits of one weight, 1-4, or ``auto``: one of `candidates`, chosen when the model is created.
        values: Name of a set of values, or an own list.
        scale: ``per_channel``, ``per_channel_fixed`` or ``none``.
        candidates: Bits to choose from, ascending; none unless `bits` is ``auto``.
    """

    bits: int | Literal["auto"]
    values: str | tuple[float, ...]
    scale: str
    candidates: tuple[int, ...] = ()


class WeightsOverride(Section):
    """Other settings for the layers in `target_scopes`; None inherits from the enclosing section."""

    target_scopes: SomeScopes = Field(description=f"Layers that these settings are for, {SCOPE_HELP}")
    bits: Bits | None = Field(
        default=None,
        description=f"{_BITS_HELP} If left out: what `values` of this override needs, else as in `weights`.",
    )
    values: Values | None = Field(default=None, description="Values a weight can take. If left out: as in `weights`.")
    scale: Scale | None = Field(default=None, description="Factor of the values. If left out: as in `weights`.")


def _bits_for(values: Any, otherwise: int | Literal["auto"]) -> int | Literal["auto"]:
    """Bits that a set of values needs; `otherwise` for sets of any size."""
    if isinstance(values, list | tuple) and 2 <= len(values) <= MAX_VALUES:
        return bits_for_count(len(values))
    return 2 if values == "ternary" else otherwise


def _bits_contradiction(weights: ResolvedWeights, at: Location) -> list[Contradiction]:
    needed = _bits_for(weights.values, weights.bits)
    if weights.bits != needed:
        kind = "ternary values" if weights.values == "ternary" else f"a list of {len(weights.values)} values"
        return [(at, f"{needed} for {kind}", f"Remove it, set it to {needed}, or choose other values")]
    if weights.values == "zero_centered" and weights.bits == 1:
        return [(at, "zero_centered values with 2 to 4 bits, and here the bits are 1", "Change bits or values")]
    return []


def _equal_numbers(values: Any, at: Location) -> list[Contradiction]:
    if not isinstance(values, tuple) or are_distinct(values):
        return []
    allowed = f"numbers more than {LEAST_DISTANCE:g} of the largest apart"
    return [((*at, "values"), allowed, "Remove one of the two that are nearly equal, or move them apart")]


class WeightsConfig(Section):
    """Which values the weights can take, for all layers and, by `overrides`, for some."""

    bits: BitsOrAuto = Field(
        default=_BITS,
        description=f"{_BITS_HELP} An own list of values sets it: 1 for 2 values, 2 for 3-4, 3 for 5-8, 4 for more. "
        '"auto" measures each layer and chooses its bits within `budget`.',
    )
    values: Values = Field(default="uniform", description=_VALUES_HELP)
    scale: Scale = Field(default="per_channel", description=_SCALE_HELP)
    budget: BudgetConfig | None = Field(
        default=None, description='What the bits of all layers may come to. Required with bits "auto", and only there.'
    )
    candidates: Candidates | None = Field(
        default=None,
        description='Bits to choose from. Only with bits "auto". If left out: 1, 2, 3, 4, and 2, 3, 4 for '
        "`zero_centered` values.",
    )
    overrides: list[WeightsOverride] = Field(
        default=[],
        description="Other settings for some layers. The first override whose `target_scopes` match a layer wins.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_bits(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("bits") is None:
            return {**data, "bits": _bits_for(data.get("values"), _BITS)}
        return data

    @model_validator(mode="after")
    def _check(self) -> WeightsConfig:
        base = ResolvedWeights(self.bits, self.values, self.scale)
        found = [*_bits_contradiction(base, ("bits",)), *self._budget_contradictions()]
        found += _equal_numbers(self.values, ())
        for index, override in enumerate(self.overrides):
            at: Location = ("overrides", index)
            found += _equal_numbers(override.values, at)
            fixed = isinstance(self.values, tuple) or self.values == "ternary"
            if fixed and override.bits is not None and override.values is None:
                allowed = "no bits without values, since the values inherited from weights set the bits"
                found.append(((*at, "bits"), allowed, "Give this override values too, or remove its bits"))
            elif override.bits is not None:
                found += _bits_contradiction(self._with(override), (*at, "bits"))
            elif override.values is not None:
                resolved = self._with(override)
                found += _bits_contradiction(resolved, (*at, "values"))
                if not set(resolved.candidates) <= set(default_candidates(resolved.values)):
                    found.append(((*at, "values"), "values that all of weights.candidates can have", "Change either"))
        refuse(found)
        return self

    def _budget_contradictions(self) -> list[Contradiction]:
        if self.bits != AUTO:
            given = [name for name in ("budget", "candidates") if getattr(self, name) is not None]
            return [((name,), 'none unless bits is "auto"', 'Remove it, or set bits to "auto"') for name in given]
        if _bits_for(self.values, AUTO) != AUTO:
            return []  # the mistake is "auto" itself
        found: list[Contradiction] = []
        candidates = self.candidates or default_candidates(self.values)
        if self.budget is None:
            advice = 'Add it, such as {"mean_bits": 2.0}, or set bits to a number'
            found.append((("budget",), 'an object with either mean_bits or bytes, since bits is "auto"', advice))
        elif self.budget.mean_bits is not None and self.budget.mean_bits < min(candidates):
            allowed = f"at least {min(candidates)}, the smallest of the candidates"
            found.append((("budget", "mean_bits"), allowed, "Raise it, or add a smaller candidate"))
        if not set(candidates) <= set(default_candidates(self.values)):
            found.append((("candidates",), "2 to 4 for zero_centered values", "Remove the 1, or change values"))
        return found

    def _with(self, override: WeightsOverride) -> ResolvedWeights:
        values = self.values if override.values is None else override.values
        bits = _bits_for(values, self.bits) if override.bits is None else override.bits
        return self._resolved(bits, values, override.scale or self.scale)

    def _resolved(self, bits: int | Literal["auto"], values: str | tuple[float, ...], scale: str) -> ResolvedWeights:
        candidates = (self.candidates or default_candidates(values)) if bits == AUTO else ()
        return ResolvedWeights(bits, values, scale, candidates)

    def resolve(self, match: Callable[[list[str]], bool]) -> ResolvedWeights:
        """Settings of one layer.

        Args:
            match: Tells whether a list of scopes includes the layer.
        """
        for override in self.overrides:
            if match(list(override.target_scopes)):
                return self._with(override)
        return self._resolved(self.bits, self.values, self.scale)
