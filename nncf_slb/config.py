"""The ``"slb"`` section of an NNCF config: one pydantic model for its fields, defaults, checks, schema and reference.

Imports neither torch nor NNCF. Fractions of training and ``1 / tau`` (``tau`` is the temperature) follow the paper,
section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from nncf_slb.config_errors import ConfigError, Contradiction, Location, dotted, explain, received, refuse
from nncf_slb.config_schema import inlined_schema

__all__ = [
    "DEFAULT_EPOCHS",
    "ConfigError",
    "ResolvedWeights",
    "SLBConfig",
    "find_slb_sections",
    "json_schema",
    "parse_slb_config",
    "validate_nncf_config",
]

DEFAULT_EPOCHS = 100
_BITS, _END_VALUE, _START_FRACTION, _END_FRACTION = 2, 20.0, 0.0, 0.85
_VALUE_NAMES = ("uniform", "zero_centered", "ternary", "power_of_two")
_MAX_VALUES = 16


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> Any:
    """``2.0`` is an integer in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_values(value: Any) -> str | tuple[float, ...]:
    if isinstance(value, str) and value in _VALUE_NAMES:
        return value
    if isinstance(value, list | tuple) and 2 <= len(value) <= _MAX_VALUES and all(map(_is_number, value)):
        numbers = tuple(float(number) for number in value)
        if len(set(numbers)) == len(numbers):
            return numbers
    raise PydanticCustomError("not_allowed", "not allowed")  # the line for the user comes from the schema


def _check_scopes(value: Any) -> tuple[str, ...]:
    scopes = (value,) if isinstance(value, str) else value
    if isinstance(scopes, list | tuple) and all(isinstance(scope, str) and scope for scope in scopes):
        return tuple(scopes)
    raise PydanticCustomError("not_allowed", "not allowed")


def _check_some_scopes(value: Any) -> tuple[str, ...]:
    scopes = _check_scopes(value)
    if not scopes:
        raise PydanticCustomError("not_allowed", "not allowed")
    return scopes


_VALUES_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "enum": list(_VALUE_NAMES)},
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": _MAX_VALUES, "uniqueItems": True},
    ]
}
_SCOPE_SCHEMA = {"type": "string", "minLength": 1}
_SCOPES_SCHEMA: dict[str, Any] = {"anyOf": [_SCOPE_SCHEMA, {"type": "array", "items": _SCOPE_SCHEMA}]}
_SOME_SCOPES_SCHEMA: dict[str, Any] = {"anyOf": [_SCOPE_SCHEMA, {**_SCOPES_SCHEMA["anyOf"][1], "minItems": 1}]}

Whole = Annotated[int, BeforeValidator(_whole)]
PositiveWhole = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
Bits = Annotated[int, Field(ge=1, le=4), BeforeValidator(_whole)]
Values = Annotated[str | tuple[float, ...], PlainValidator(_check_values), WithJsonSchema(_VALUES_SCHEMA)]
Scale = Literal["per_channel", "none"]
Scopes = Annotated[tuple[str, ...], PlainValidator(_check_scopes), WithJsonSchema(_SCOPES_SCHEMA)]
SomeScopes = Annotated[tuple[str, ...], PlainValidator(_check_some_scopes), WithJsonSchema(_SOME_SCOPES_SCHEMA)]

_BITS_HELP = "Storage bits of one weight."
_VALUES_HELP = (
    "Values a weight can take, before the scale: `uniform` is 2^bits evenly spaced numbers from -1 to 1, as in the "
    "paper; `zero_centered` is 2^bits evenly spaced numbers from -1 up to just below 1, zero included (2 bits or "
    "more); `ternary` is -1, 0, 1 (2 bits); `power_of_two` is zero and signed powers of two up to 1; or your own list."
)
_SCALE_HELP = (
    "`per_channel` learns one factor for each output channel; `none` has no factor, as in the paper, where batch norm "
    "takes its place."
)
_SCOPE_HELP = "in NNCF's scope syntax: a layer's name, or `{re}` and a regular expression."


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class ResolvedWeights:
    """Settings of one layer's weights.

    Attributes:
        bits: Storage bits of one weight, 1-4.
        values: Name of a set of values, or an own list.
        scale: ``per_channel`` or ``none``.
    """

    bits: int
    values: str | tuple[float, ...]
    scale: str


class WeightsOverride(_Section):
    """Other settings for the layers in `target_scopes`; None inherits from the enclosing section."""

    target_scopes: SomeScopes = Field(description=f"Layers that these settings are for, {_SCOPE_HELP}")
    bits: Bits | None = Field(
        default=None,
        description=f"{_BITS_HELP} If left out: what `values` of this override needs, else as in `weights`.",
    )
    values: Values | None = Field(default=None, description="Values a weight can take. If left out: as in `weights`.")
    scale: Scale | None = Field(default=None, description="Factor of the values. If left out: as in `weights`.")


def _bits_for(values: Any, otherwise: int) -> int:
    """Bits that a set of values needs; `otherwise` for sets of any size."""
    if isinstance(values, list | tuple) and 2 <= len(values) <= _MAX_VALUES:
        return math.ceil(math.log2(len(values)))
    return 2 if values == "ternary" else otherwise


def _bits_contradiction(weights: ResolvedWeights, at: Location) -> list[Contradiction]:
    needed = _bits_for(weights.values, weights.bits)
    if weights.bits != needed:
        kind = "ternary values" if weights.values == "ternary" else f"a list of {len(weights.values)} values"
        return [(at, f"{needed} for {kind}", f"Remove it, set it to {needed}, or choose other values")]
    if weights.values == "zero_centered" and weights.bits < 2:
        return [(at, "zero_centered values with 2 to 4 bits, and here the bits are 1", "Change bits or values")]
    return []


class WeightsConfig(_Section):
    """Which values the weights can take, for all layers and, by `overrides`, for some."""

    bits: Annotated[Bits, WithJsonSchema({"type": ["integer", "null"], "minimum": 1, "maximum": 4})] = Field(
        default=_BITS,
        description=f"{_BITS_HELP} An own list of values sets it: 1 for 2 values, 2 for 3-4, 3 for 5-8, 4 for more.",
    )
    values: Values = Field(default="uniform", description=_VALUES_HELP)
    scale: Scale = Field(default="per_channel", description=_SCALE_HELP)
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
        found = _bits_contradiction(base, ("bits",))
        for index, override in enumerate(self.overrides):
            at: Location = ("overrides", index)
            fixed = isinstance(self.values, tuple) or self.values == "ternary"
            if fixed and override.bits is not None and override.values is None:
                allowed = "no bits without values, since the values inherited from weights set the bits"
                found.append(((*at, "bits"), allowed, "Give this override values too, or remove its bits"))
            elif override.bits is not None:
                found += _bits_contradiction(self._with(override), (*at, "bits"))
            elif override.values is not None:
                found += _bits_contradiction(self._with(override), (*at, "values"))
        refuse(found)
        return self

    def _with(self, override: WeightsOverride) -> ResolvedWeights:
        values = self.values if override.values is None else override.values
        bits = _bits_for(values, self.bits) if override.bits is None else override.bits
        return ResolvedWeights(bits, values, override.scale or self.scale)

    def resolve(self, match: Callable[[list[str]], bool]) -> ResolvedWeights:
        """Settings of one layer.

        Args:
            match: Tells whether a list of scopes includes the layer.
        """
        for override in self.overrides:
            if match(list(override.target_scopes)):
                return self._with(override)
        return ResolvedWeights(self.bits, self.values, self.scale)


class BatchnormAdaptationConfig(_Section):
    """NNCF's adaptation of batch norm statistics when the compressed network is created."""

    num_bn_adaptation_samples: Whole = Field(
        default=2000, ge=0, description="Training samples that batch norm statistics adapt to at the start; 0 skips it."
    )


class InitializerConfig(_Section):
    """Where the search begins."""

    logits: Literal["trained", "random"] = Field(
        default="trained", description="`trained` begins near the network's float weights, `random` from random logits."
    )
    sharpness: float = Field(
        default=2.0,
        gt=0,
        description="How strongly `trained` logits prefer near values: multiplies the squared distance to a value, "
        "measured in units of the spacing between values. With 2 the expected weight begins close to the float one.",
    )
    batchnorm_adaptation: BatchnormAdaptationConfig | None = Field(
        default_factory=BatchnormAdaptationConfig,
        description="Adaptation of batch norm statistics to the discrete weights; null skips it.",
    )


class ParamsConfig(_Section):
    """How the search runs during training."""

    schedule: Literal["exponential", "linear", "sine"] = Field(
        default="exponential",
        description="Curve on which the inverse temperature 1/tau rises from its start to its end.",
    )
    inverse_temperature_start: float = Field(
        default=1.0, gt=0, description="1/tau at the beginning (no unit). Small values keep the weights undecided."
    )
    inverse_temperature_end: float | None = Field(
        default=None,
        gt=0,
        json_schema_extra={"default": _END_VALUE},
        description="1/tau at the end (no unit), above `inverse_temperature_start`. Not with "
        "`inverse_temperature_factor`.",
    )
    inverse_temperature_factor: float | None = Field(
        default=None,
        gt=1,
        description="Instead of `inverse_temperature_end`: 1/tau is multiplied by this in each epoch between start "
        "and end. Exponential schedule only.",
    )
    epochs: PositiveWhole | None = Field(
        default=None,
        description="Training epochs that the fractions below refer to. If left out: `epochs` at the config's top "
        f"level, else {DEFAULT_EPOCHS}.",
    )
    start_epoch: float | None = Field(
        default=None,
        ge=0,
        description="Epoch, counted from 0, at which 1/tau begins to rise. Not with `start_fraction`.",
    )
    start_fraction: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        json_schema_extra={"default": _START_FRACTION},
        description="The same as a fraction of `epochs`. Not with `start_epoch`.",
    )
    end_epoch: float | None = Field(
        default=None,
        gt=0,
        description="Epoch, counted from 0, from which the weights are discrete: 1/tau has reached its end. Not with "
        "`end_fraction`.",
    )
    end_fraction: float | None = Field(
        default=None,
        gt=0,
        le=1,
        json_schema_extra={"default": _END_FRACTION},
        description="The same as a fraction of `epochs`. Not with `end_epoch`. If left out, the last epoch is "
        "discrete in any case.",
    )
    update_per_optimizer_step: bool = Field(
        default=False, description="true changes 1/tau at every optimizer step, false at every epoch."
    )
    steps_per_epoch: PositiveWhole | None = Field(
        default=None,
        description="Optimizer steps in an epoch, only with `update_per_optimizer_step`. If left out: learned during "
        "the first epoch, in which 1/tau then stays at its start.",
    )
    batchnorm: Literal["calibrate", "state"] = Field(
        default="calibrate",
        description="`calibrate` computes batch norm statistics anew with the discrete weights before each "
        "evaluation; `state` keeps running statistics of their own for both kinds of weights during training, as the "
        "paper's state batch normalization.",
    )
    batchnorm_calibration_batches: Whole = Field(
        default=50, ge=1, description="Training batches for each such calibration. Not with `batchnorm` set to `state`."
    )
    confidence_loss_weight: float = Field(
        default=0.0,
        ge=0,
        description="Weight of a loss that pushes each weight to decide for one value; 0 turns it off.",
    )

    @property
    def effective_inverse_temperature_end(self) -> float | None:
        """``1 / tau`` at the end; None when `inverse_temperature_factor` sets it."""
        if self.inverse_temperature_factor is not None:
            return None
        return _END_VALUE if self.inverse_temperature_end is None else self.inverse_temperature_end

    def epoch_range(self, default_epochs: int = DEFAULT_EPOCHS) -> tuple[float, float]:
        """Zero-based epochs, maybe fractional, at which ``1 / tau`` begins to rise and has reached its end.

        Args:
            default_epochs: Training epochs where the section states no `epochs`.
        """
        epochs = self.epochs or default_epochs
        start = _START_FRACTION if self.start_fraction is None else self.start_fraction
        end = epochs * (_END_FRACTION if self.end_fraction is None else self.end_fraction)
        if self.end_fraction is None and epochs > 1:
            end = min(end, epochs - 1.0)  # a short run trains its discrete weights in the last epoch all the same
        return (
            start * epochs if self.start_epoch is None else self.start_epoch,
            end if self.end_epoch is None else self.end_epoch,
        )

    def range_contradiction(self, default_epochs: int) -> list[Contradiction]:
        """The contradiction of a search that would end before it starts, if it does."""
        start, end = self.epoch_range(default_epochs)
        if end > start:
            return []
        stated = [name for name in ("end_epoch", "end_fraction", "start_epoch") if getattr(self, name) is not None]
        name = (*stated, "start_fraction")[0]
        side = "before the search ends" if name.startswith("start") else "after the search starts"
        epochs = f"the search runs from epoch {start:g} to {end:g} of {self.epochs or default_epochs}"
        return [((name,), f"a time {side} ({epochs})", "Change start or end, or the number of epochs")]

    @model_validator(mode="after")
    def _check(self) -> ParamsConfig:
        found = [*self._temperature_contradictions(), *self._switch_contradictions()]
        for edge in ("start", "end"):
            if getattr(self, f"{edge}_epoch") is not None and getattr(self, f"{edge}_fraction") is not None:
                allowed = f"either {edge}_epoch or {edge}_fraction, not both"
                found.append(((f"{edge}_fraction",), allowed, "Remove one of them"))
        same_unit = (self.start_epoch is None) == (self.end_epoch is None)
        if not found and (same_unit or self.epochs is not None):
            found += self.range_contradiction(DEFAULT_EPOCHS)
        refuse(found)
        return self

    def _temperature_contradictions(self) -> Iterator[Contradiction]:
        end = self.effective_inverse_temperature_end
        factor: Location = ("inverse_temperature_factor",)
        if end is None and self.inverse_temperature_end is not None:
            yield factor, "either inverse_temperature_end or inverse_temperature_factor, not both", "Remove one of them"
        if end is None and self.schedule != "exponential":
            advice = 'Set schedule to "exponential", or use inverse_temperature_end'
            yield factor, f'none with schedule "{self.schedule}"', advice
        if end is not None and end <= self.inverse_temperature_start:
            start = self.inverse_temperature_start
            if self.inverse_temperature_end is not None:
                allowed = f"a number above inverse_temperature_start, which is {start:g}"
                yield ("inverse_temperature_end",), allowed, "Raise it, or lower inverse_temperature_start"
            else:
                allowed = f"a number below inverse_temperature_end, which is {end:g} if left out"
                yield ("inverse_temperature_start",), allowed, "Lower it, or set a higher inverse_temperature_end"

    def _switch_contradictions(self) -> Iterator[Contradiction]:
        if self.steps_per_epoch is not None and not self.update_per_optimizer_step:
            advice = "Set update_per_optimizer_step to true, or remove it"
            yield ("steps_per_epoch",), "none unless update_per_optimizer_step is true", advice
        if self.batchnorm == "state" and "batchnorm_calibration_batches" in self.model_fields_set:
            advice = 'Remove it, or set batchnorm to "calibrate"'
            yield ("batchnorm_calibration_batches",), 'none with batchnorm "state"', advice


class SLBConfig(_Section):
    """The ``"slb"`` section of an NNCF config."""

    algorithm: Literal["slb"] = Field(description="Name of the algorithm.")
    weights: WeightsConfig = Field(
        default_factory=WeightsConfig, description="Which values the weights can take, for all layers or for some."
    )
    initializer: InitializerConfig = Field(default_factory=InitializerConfig, description="Where the search begins.")
    params: ParamsConfig = Field(default_factory=ParamsConfig, description="How the search runs during training.")
    ignored_scopes: Scopes | None = Field(default=None, description=f"Layers left out of the search, {_SCOPE_HELP}")
    target_scopes: Scopes | None = Field(
        default=None, description=f"Layers to search, {_SCOPE_HELP} If left out: all layers with weights."
    )
    validate_scopes: bool = Field(default=True, description="Whether scopes that match no layer are an error.")
    compression_lr_multiplier: float | None = Field(
        default=None, gt=0, description="Factor of the gradients of the searched weights' parameters. If left out: 1."
    )


def json_schema() -> dict[str, Any]:
    """JSON schema of the section, without ``$ref``, so that it can stand inside another schema."""
    return inlined_schema(SLBConfig)


def parse_slb_config(section: Mapping[str, Any], path: str = "compression") -> SLBConfig:
    """Check a section and fill in its defaults.

    Args:
        section: The section as loaded from JSON.
        path: Where the section stands in the config, for error messages.

    Raises:
        ConfigError: With every problem of the section.
    """
    try:
        return SLBConfig.model_validate(dict(section) if isinstance(section, Mapping) else section)
    except ValidationError as error:
        problems = [line for each in error.errors() for line in explain(json_schema(), each, section, path)]
    raise ConfigError(problems)


def find_slb_sections(nncf_config: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Path and contents of every ``"slb"`` section of an NNCF config."""
    compression = nncf_config.get("compression")
    sections = [("compression", compression)]
    if isinstance(compression, list | tuple):
        sections = [(f"compression[{index}]", section) for index, section in enumerate(compression)]
    return [
        (at, section) for at, section in sections if isinstance(section, Mapping) and section.get("algorithm") == "slb"
    ]


def validate_nncf_config(nncf_config: Mapping[str, Any]) -> None:
    """Check every ``"slb"`` section of an NNCF config; other algorithms are left alone.

    Raises:
        ConfigError: With every problem of every section, or if there are two of them.
    """
    sections = find_slb_sections(nncf_config)
    problems = [
        f'{path}: received a second "slb" section; allowed: one. Use weights.overrides of {sections[0][0]} for layers '
        "with other settings"
        for path, _ in sections[1:]
    ]
    for path, section in sections:
        try:
            params = parse_slb_config(section, path).params
        except ConfigError as error:
            problems += error.problems
            continue
        found = params.range_contradiction(int(nncf_config.get("epochs") or DEFAULT_EPOCHS))
        problems += [
            f"{path}.params{dotted(at)}: received {received(section, ('params', *at))}; allowed: {allowed}. {advice}"
            for at, allowed, advice in found
        ]
    if problems:
        raise ConfigError(problems)
