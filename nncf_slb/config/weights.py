"""``weights``: which values the searched weights can take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from nncf_slb.config.budget import AUTO, BitsOrAuto, BudgetConfig, Candidates
from nncf_slb.config.errors import Contradiction, Location, refuse
from nncf_slb.config.fields import LARGEST, SCOPE_HELP, Bits, Section, SomeScopes, Values, whole_not_truth
from nncf_slb.search.choices import ScaleName
from nncf_slb.search.values import LEAST_DISTANCE, VALUE_SETS, WIDTHS, ValuesName, are_distinct, widths_of


def _in_words(widths: tuple[int, ...]) -> str:
    """``2`` or ``2 to 4``."""
    return str(widths[0]) if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"


def _widths_help(widths: tuple[int, ...]) -> str:
    return "" if widths == WIDTHS else f" ({_in_words(widths)} bits)"


EdgesChoice = Literal["float", 8, "search"]
Edges = Annotated[EdgesChoice, BeforeValidator(whole_not_truth)]
_BITS = 2
_BITS_HELP = "Storage bits of one weight."
_VALUES_HELP = (
    "Values a weight can take, before the scale: "
    + "; ".join(f"`{name}` is {entry.help}{_widths_help(entry.widths)}" for name, entry in VALUE_SETS.items())
    + "; or a list of your own."
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
        values: Name of a set of values, or a list of numbers.
        scale: ``per_channel``, ``per_channel_fixed`` or ``none``.
        candidates: Bits to choose from, ascending; none unless `bits` is ``auto``.
    """

    bits: int | Literal["auto"]
    values: ValuesName | tuple[float, ...]
    scale: ScaleName
    candidates: tuple[int, ...] = ()


class WeightsOverride(Section):
    """Other settings for the layers in `target_scopes`; None inherits from the enclosing section."""

    target_scopes: SomeScopes = Field(description=f"Layers that these settings are for, {SCOPE_HELP}")
    bits: Bits | None = Field(
        default=None,
        description=f"{_BITS_HELP} If left out: what `values` of this override needs, else as in `weights`.",
    )
    values: Values | None = Field(default=None, description="Values a weight can take. If left out: as in `weights`.")
    scale: ScaleName | None = Field(default=None, description="Factor of the values. If left out: as in `weights`.")


def _bits_for(values: Any, free: int | Literal["auto"]) -> int | Literal["auto"]:
    """The bits of values that can have only one width; `free` for all others, and for what are no values."""
    known = values in VALUE_SETS if isinstance(values, str) else isinstance(values, list | tuple)
    widths = widths_of(values) if known else WIDTHS
    return widths[0] if len(widths) == 1 else free


def _kind(values: ValuesName | tuple[float, ...]) -> str:
    return f"{values} values" if isinstance(values, str) else f"a list of {len(values)} values"


def _bits_contradiction(weights: ResolvedWeights, location: Location) -> list[Contradiction]:
    widths = widths_of(weights.values)
    if len(widths) == 1 and weights.bits != widths[0]:
        allowed = f"{widths[0]} for {_kind(weights.values)}"
        return [(location, allowed, f"Remove it, set it to {widths[0]}, or choose other values")]
    if weights.bits != AUTO and weights.bits not in widths:
        allowed = f"{_kind(weights.values)} with {_in_words(widths)} bits, and here the bits are {weights.bits}"
        return [(location, allowed, "Change bits or values")]
    return []


def _numbers_contradiction(values: Any, location: Location) -> list[Contradiction]:
    if not isinstance(values, tuple):
        return []
    if max(map(abs, values)) < 1 / LARGEST:
        allowed = f"numbers whose largest is at least {1 / LARGEST:g}"
        return [
            ((*location, "values"), allowed, "Multiply all of them; the scale of each channel takes the factor back")
        ]
    if are_distinct(values):
        return []
    allowed = f"numbers more than {LEAST_DISTANCE:g} of the largest apart"
    return [((*location, "values"), allowed, "Remove one of the two that are nearly equal, or move them apart")]


class WeightsConfig(Section):
    """Which values the weights can take, for all layers and, by `overrides`, for some."""

    bits: BitsOrAuto | None = Field(
        default=_BITS,
        description=f"{_BITS_HELP} A list of your own as `values` sets it: 1 for 2 values, 2 for 3-4, 3 for 5-8, 4 "
        "for more. "
        '"auto" measures each layer and chooses its bits within `budget`.',
    )
    values: Values = Field(default="uniform", description=_VALUES_HELP)
    scale: ScaleName = Field(default="per_channel", description=_SCALE_HELP)
    budget: BudgetConfig | None = Field(
        default=None, description='What the bits of all layers may come to. Required with bits "auto", and only there.'
    )
    candidates: Candidates | None = Field(
        default=None,
        description='Bits to choose from. Only with bits "auto". If left out: 1, 2, 3, 4, and 2, 3, 4 for '
        "`zero_centered` values.",
    )
    edges: Edges = Field(
        default="search",
        description="What the weights of the network's first and last layers get: those that an input reaches before "
        "any other weights, and those whose results no other weights use. `search` searches them like all others, "
        "`float` leaves them as they are, as the paper does, and 8 rounds them to 8 bits. Without labels the default "
        "is 8.",
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

    @property
    def _filled_bits(self) -> int | Literal["auto"]:
        assert self.bits is not None  # by _fill_bits
        return self.bits

    @model_validator(mode="after")
    def _check(self) -> WeightsConfig:
        base = ResolvedWeights(self._filled_bits, self.values, self.scale)
        contradictions = [*_bits_contradiction(base, ("bits",)), *self._budget_contradictions()]
        contradictions += _numbers_contradiction(self.values, ())
        for index, override in enumerate(self.overrides):
            location: Location = ("overrides", index)
            contradictions += _numbers_contradiction(override.values, location)
            fixed = len(widths_of(self.values)) == 1
            if fixed and override.bits is not None and override.values is None:
                allowed = "no bits without values, since the values inherited from weights set the bits"
                contradictions.append(
                    ((*location, "bits"), allowed, "Give this override values too, or remove its bits")
                )
            elif override.bits is not None:
                contradictions += _bits_contradiction(self._with(override), (*location, "bits"))
            elif override.values is not None:
                resolved = self._with(override)
                contradictions += _bits_contradiction(resolved, (*location, "values"))
                if not set(resolved.candidates) <= set(widths_of(resolved.values)):
                    contradictions.append(
                        ((*location, "values"), "values that all of weights.candidates can have", "Change either")
                    )
        refuse(contradictions)
        return self

    def _budget_contradictions(self) -> list[Contradiction]:
        if self.bits != AUTO:
            misplaced = [name for name in ("budget", "candidates") if getattr(self, name) is not None]
            return [((name,), 'none unless bits is "auto"', 'Remove it, or set bits to "auto"') for name in misplaced]
        if _bits_for(self.values, AUTO) != AUTO:
            return []  # the mistake is "auto" itself
        contradictions: list[Contradiction] = []
        candidates = self.candidates or widths_of(self.values)
        if self.budget is None:
            advice = 'Add it, such as {"mean_bits": 2.0}, or set bits to a number'
            contradictions.append(
                (("budget",), 'an object with either mean_bits or bytes, since bits is "auto"', advice)
            )
        elif self.budget.mean_bits is not None and self.budget.mean_bits < min(candidates):
            allowed = f"at least {min(candidates)}, the smallest of the candidates"
            contradictions.append((("budget", "mean_bits"), allowed, "Raise it, or add a smaller candidate"))
        if not set(candidates) <= set(widths_of(self.values)):
            allowed = f"{_in_words(widths_of(self.values))} for {_kind(self.values)}"
            contradictions.append((("candidates",), allowed, "Remove the others, or change values"))
        return contradictions

    def _with(self, override: WeightsOverride) -> ResolvedWeights:
        values = self.values if override.values is None else override.values
        bits = _bits_for(values, self._filled_bits) if override.bits is None else override.bits
        return self._resolved(bits, values, override.scale or self.scale)

    def _resolved(
        self, bits: int | Literal["auto"], values: ValuesName | tuple[float, ...], scale: ScaleName
    ) -> ResolvedWeights:
        candidates = (self.candidates or widths_of(values)) if bits == AUTO else ()
        return ResolvedWeights(bits, values, scale, candidates)

    def resolve(self, match: Callable[[list[str]], bool]) -> ResolvedWeights:
        """Settings of one layer.

        Args:
            match: Tells whether a list of scopes includes the layer.
        """
        for override in self.overrides:
            if match(list(override.target_scopes)):
                return self._with(override)
        return self._resolved(self._filled_bits, self.values, self.scale)
