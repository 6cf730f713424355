"""Every setting of the `slb` section, once: default, range and help.

The JSON schema that NNCF validates against, the error messages and `docs/config.md` all come from these models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from nncf_slb.config_errors import ConfigError, parse_model, validate_sections
from nncf_slb.values import MAX_VALUES

__all__ = ["ConfigError", "ResolvedWeights", "SLBConfig", "json_schema", "parse_slb_config", "validate_nncf_config"]

ValuesName = Literal["uniform", "zero_centered", "ternary", "power_of_two"]
_NAMES = ("uniform", "zero_centered", "ternary", "power_of_two")
_VALUES_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "enum": list(_NAMES)},
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": MAX_VALUES, "uniqueItems": True},
    ]
}


def _check_values(received: Any) -> str | tuple[float, ...]:
    if isinstance(received, str) and received in _NAMES:
        return received
    if isinstance(received, (list, tuple)):
        numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in received)
        if numeric and 2 <= len(received) <= MAX_VALUES and len({float(v) for v in received}) == len(received):
            return tuple(float(v) for v in received)
    raise ValueError("not a set of values")


Values = Annotated[str | tuple[float, ...], PlainValidator(_check_values), WithJsonSchema(_VALUES_SCHEMA)]
Bits = Annotated[int, Field(ge=1, le=4)]
Scale = Literal["per_channel", "none"]
Scopes = str | list[str]


@dataclass(frozen=True)
class ResolvedWeights:
    """Settings of one layer's weights: bits 1-4, a name or a list of numbers, ``per_channel`` or ``none``."""

    bits: int
    values: str | tuple[float, ...]
    scale: str


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _bits_problem(bits: int | None, values: str | tuple[float, ...]) -> str | None:
    """Why `bits` contradicts `values`; None when they agree or bits follow from the values."""
    if bits is None:
        return None
    if isinstance(values, tuple):
        needed = math.ceil(math.log2(len(values)))
        if bits != needed:
            return f"bits: received {bits} with a list of {len(values)} values; allowed: {needed}, or leave bits out"
    elif values == "ternary" and bits != 2:
        return f"bits: received {bits} with values 'ternary'; allowed: 2, or choose other values"
    elif values == "zero_centered" and bits == 1:
        return "bits: received 1 with values 'zero_centered'; allowed: 2 to 4, or values 'uniform'"
    return None


def _resolve(bits: int | None, values: str | tuple[float, ...], scale: str) -> ResolvedWeights:
    if bits is None:
        bits = math.ceil(math.log2(len(values))) if isinstance(values, tuple) else 2
    return ResolvedWeights(bits, values, scale)


class WeightsOverride(_Section):
    """Other settings for some layers; what is left out is taken from `weights`."""

    target_scopes: Scopes = Field(
        min_length=1, description="Layers it applies to, by NNCF scope or {re}regular expression."
    )
    bits: Bits | None = Field(None, description="Bits of one weight.")
    values: Values | None = Field(None, description="Set of values.", validate_default=False)
    scale: Scale | None = Field(None, description="Scale of the values.")


class WeightsConfig(_Section):
    """What values the weights can take."""

    bits: Bits = Field(2, description="Bits of one weight; for `ternary` and an own list they follow from the values.")
    values: Values = Field(
        "uniform",
        description="`uniform`: 2^bits evenly spaced points in [-1, 1] (the paper); `zero_centered`: evenly spaced with "
        "zero among them; `ternary`: -1, 0, 1; `power_of_two`: zero and signed powers of two; or a list of 2 to 16 "
        "different numbers.",
    )
    scale: Scale = Field(
        "per_channel",
        description="`per_channel`: a learned factor for each output channel; `none`: the values as they are, which "
        "batch norm has to absorb (the paper).",
    )
    overrides: list[WeightsOverride] = Field(
        [], description="Settings for some layers, so that some take 4 bits and others 1; the first match counts."
    )

    @model_validator(mode="after")
    def _check(self) -> WeightsConfig:
        problems = [_bits_problem(self._given_bits(), self.values)]
        for index, override in enumerate(self.overrides):
            problem = _bits_problem(self._override_bits(override), self._override_values(override))
            problems.append(problem and f"overrides[{index}].{problem}")
        found = [p for p in problems if p]
        if found:
            raise ValueError("\n".join(found))
        return self

    def _given_bits(self) -> int | None:
        return self.bits if "bits" in self.model_fields_set else None

    def _override_values(self, override: WeightsOverride) -> str | tuple[float, ...]:
        return self.values if override.values is None else override.values

    def _override_bits(self, override: WeightsOverride) -> int | None:
        if override.bits is not None or override.values is not None:
            return override.bits
        return self._given_bits()

    def resolve(self, matches: Callable[[Scopes], bool]) -> ResolvedWeights:
        """Settings of one layer; `matches` tells whether the layer is in given scopes."""
        for override in self.overrides:
            if matches(override.target_scopes):
                bits, values = self._override_bits(override), self._override_values(override)
                return _resolve(bits, values, override.scale or self.scale)
        return _resolve(self._given_bits(), self.values, self.scale)


class BatchnormAdaptation(_Section):
    """NNCF's adaptation of batch norm statistics when the model is created."""

    num_bn_adaptation_samples: int = Field(
        2000, ge=0, description="Training samples that adapt batch norm at creation; 0 turns it off."
    )


class InitializerConfig(_Section):
    """Where the search begins."""

    logits: Literal["trained", "random"] = Field(
        "trained", description="`trained`: near the float weights of the model; `random`: He-normal noise (the paper)."
    )
    sharpness: float = Field(
        2.0,
        gt=0,
        description="How confident logits from trained weights are: factor of the squared distance to the values, "
        "in units of their spacing. At 2 the expected weights start close to the float weights.",
    )
    batchnorm_adaptation: BatchnormAdaptation = Field(
        BatchnormAdaptation(), description="NNCF's batch norm adaptation, which sees the discrete weights."
    )


DEFAULT_INVERSE_TEMPERATURE_END = 20.0
DEFAULT_START_FRACTION = 0.0
DEFAULT_END_FRACTION = 0.85


class ParamsConfig(_Section):
    """How the temperature falls, and what batch norm does. Epochs count from zero."""

    schedule: Literal["exponential", "linear", "sine"] = Field("exponential", description="Curve of 1/tau.")
    inverse_temperature_start: float = Field(1.0, gt=0, description="1/tau up to the start.")
    inverse_temperature_end: float | None = Field(
        None, gt=0, description=f"1/tau at the end; {DEFAULT_INVERSE_TEMPERATURE_END:g} unless a factor is given."
    )
    inverse_temperature_factor: float | None = Field(
        None, gt=1, description="Factor of 1/tau in each epoch between start and end (`exponential` only; the paper)."
    )
    epochs: int | None = Field(
        None, ge=1, description="Epochs that fractions refer to; the config's own top-level `epochs`, else 100."
    )
    start_epoch: float | None = Field(None, ge=0, description="Epoch at which 1/tau begins to rise.")
    start_fraction: float | None = Field(
        None, ge=0, lt=1, description=f"The same as a fraction of the epochs; {DEFAULT_START_FRACTION:g} by default."
    )
    end_epoch: float | None = Field(
        None, gt=0, description="Epoch from which the chosen (discrete) weights are trained on and logits stand still."
    )
    end_fraction: float | None = Field(
        None, gt=0, le=1, description=f"The same as a fraction of the epochs; {DEFAULT_END_FRACTION:g} by default."
    )
    update_per_optimizer_step: bool = Field(False, description="Follow the curve each step instead of each epoch.")
    steps_per_epoch: int | None = Field(
        None, ge=1, description="Optimizer steps in an epoch; learned from the first epoch if left out."
    )
    batchnorm: Literal["calibrate", "state"] = Field(
        "calibrate",
        description="`calibrate`: recompute the statistics with the discrete weights before each evaluation; `state`: "
        "keep running statistics for searched and discrete weights (the paper; twice the forward passes).",
    )
    batchnorm_calibration_batches: int = Field(50, ge=1, description="Training batches that `calibrate` averages over.")
    confidence_loss_weight: float = Field(
        0.0, ge=0, description="Weight of the mean doubt (1 - largest probability) in the compression loss."
    )

    @model_validator(mode="after")
    def _check(self) -> ParamsConfig:
        problems = [*self._contradictions()]
        start, end = self._ends_if_comparable()
        if start is not None and end is not None and end <= start:
            problems.append(f"{self._end_name()}: received an end ({end:g}) not after the start ({start:g}); move it on")
        last = self.effective_inverse_temperature_end
        if self.inverse_temperature_factor is None and last <= self.inverse_temperature_start:
            problems.append(
                f"inverse_temperature_end: received {last:g}; allowed: above inverse_temperature_start "
                f"({self.inverse_temperature_start:g})"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _contradictions(self) -> list[str]:
        pairs = [
            ("start_epoch", "start_fraction"),
            ("end_epoch", "end_fraction"),
            ("inverse_temperature_factor", "inverse_temperature_end"),
        ]
        found = [
            f"{a}: received together with {b}; allowed: one of them, remove the other"
            for a, b in pairs
            if getattr(self, a) is not None and getattr(self, b) is not None
        ]
        if self.inverse_temperature_factor is not None and self.schedule != "exponential":
            found.append(
                f"inverse_temperature_factor: received with schedule '{self.schedule}'; allowed: with 'exponential' "
                "only, use inverse_temperature_end"
            )
        if self.steps_per_epoch is not None and not self.update_per_optimizer_step:
            found.append(
                "steps_per_epoch: received without update_per_optimizer_step; set that to true, or remove steps_per_epoch"
            )
        if self.batchnorm == "state" and "batchnorm_calibration_batches" in self.model_fields_set:
            found.append(
                "batchnorm_calibration_batches: received with batchnorm 'state'; allowed: with 'calibrate' only"
            )
        return found

    def _ends_if_comparable(self) -> tuple[float | None, float | None]:
        if self.epochs is not None:
            return self.epoch_range(self.epochs)
        if self.start_epoch is None and self.end_epoch is None:
            return self.epoch_range(1)
        if self.start_epoch is not None and self.end_epoch is not None:
            return self.start_epoch, self.end_epoch
        return None, None

    def _end_name(self) -> str:
        return "end_epoch" if self.end_epoch is not None else "end_fraction"

    def epoch_range(self, default_epochs: int) -> tuple[float, float]:
        """Start and end in epochs; `default_epochs` counts where the section states no `epochs`."""
        epochs = self.epochs or default_epochs
        start = DEFAULT_START_FRACTION if self.start_fraction is None else self.start_fraction
        end = DEFAULT_END_FRACTION if self.end_fraction is None else self.end_fraction
        return (
            start * epochs if self.start_epoch is None else self.start_epoch,
            end * epochs if self.end_epoch is None else self.end_epoch,
        )

    @property
    def effective_inverse_temperature_end(self) -> float:
        """Final 1/tau where no factor is given."""
        return self.inverse_temperature_end or DEFAULT_INVERSE_TEMPERATURE_END


class SLBConfig(_Section):
    """The `slb` section of an NNCF config."""

    algorithm: Literal["slb"] = Field(description="Name of the algorithm.")
    weights: WeightsConfig = Field(WeightsConfig(), description="What values the weights can take.")
    initializer: InitializerConfig = Field(InitializerConfig(), description="Where the search begins.")
    params: ParamsConfig = Field(ParamsConfig(), description="How the temperature falls, and what batch norm does.")
    ignored_scopes: Scopes | None = Field(
        None, description="Layers left in full precision, by NNCF scope or {re}regular expression."
    )
    target_scopes: Scopes | None = Field(None, description="Search these layers only.")
    validate_scopes: bool = Field(True, description="Fail when a scope matches nothing in the model.")
    compression_lr_multiplier: float | None = Field(
        None, gt=0, description="Factor of the gradients of logits and scales."
    )


def parse_slb_config(section: Any, path: str = "compression") -> SLBConfig:
    """Check one section.

    Args:
        section: The JSON object.
        path: Where it stands in the config, for messages.

    Raises:
        ConfigError: With one line for each problem.
    """
    return parse_model(SLBConfig, section, path)


def validate_nncf_config(nncf_config: Any) -> None:
    """Check every `slb` section of a whole NNCF config; other algorithms' sections are not looked at.

    Raises:
        ConfigError: With one line for each problem of all sections.
    """
    validate_sections(SLBConfig, nncf_config, check_epochs)


def check_epochs(config: SLBConfig, nncf_config: Any, path: str) -> list[str]:
    """Problems between the schedule and the config's top-level ``epochs``."""
    epochs = nncf_config.get("epochs")
    if not isinstance(epochs, int) or config.params.epochs is not None or epochs < 1:
        return []
    start, end = config.params.epoch_range(epochs)
    if end > start:
        return []
    return [f"{path}.params: received a search from epoch {start:g} to {end:g} of {epochs}; move the end after the start"]


def json_schema() -> dict[str, Any]:
    """JSON schema of the section, without references, so that it can stand inside NNCF's."""
    from nncf_slb.config_errors import inlined_schema

    return inlined_schema(SLBConfig)
