"""``initializer`` and ``params``: where the search begins and how it runs.

Fractions of training and ``1 / tau`` (``tau`` is the temperature) follow the paper, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pydantic import Field, model_validator

from nncf_slb.config.errors import Contradiction, Location, refuse
from nncf_slb.config.fields import LARGEST, LARGEST_INVERSE_TEMPERATURE, Average, PositiveWhole, Section, Whole
from nncf_slb.search.averaging import PARTS, Averaging
from nncf_slb.search.choices import BatchNormName, DescentName, LogitsName
from nncf_slb.search.temperature import ScheduleName, TemperatureCurve, end_value_from_factor

DEFAULT_EPOCHS = 100
_END_VALUE, _START_FRACTION, _END_FRACTION = 20.0, 0.0, 0.85


class BatchnormAdaptationConfig(Section):
    """NNCF's adaptation of batch norm statistics when the compressed network is created."""

    num_bn_adaptation_samples: Whole = Field(
        default=2000, ge=0, description="Training samples that batch norm statistics adapt to at the start; 0 skips it."
    )


class RangeConfig(Section):
    """Where the steps and clipping values of quantized activations begin."""

    num_init_samples: PositiveWhole = Field(
        default=256, description="Training samples whose activations set the first steps and clipping values."
    )


class ReconstructionConfig(Section):
    """A search without labels, with the float network as its target."""

    num_samples: Whole = Field(
        default=2000, ge=2, description="Samples to search with; labels are not used. More are seldom better."
    )
    steps: PositiveWhole = Field(default=1000, description="Optimizer steps.")
    batch_size: Whole = Field(
        default=100,
        ge=2,
        description="Samples of a step; fewer where the activations of the float network would take more than 640 MiB. "
        "With half as many a search takes about three quarters of the time. Only at 1 bit does it lose more.",
    )


class InitializerConfig(Section):
    """Where the search begins."""

    logits: LogitsName = Field(
        default="trained",
        description="`trained` begins near the network's float weights. `random` does not use them: with `descent` set "
        "to `gradient` it draws every logit, as in the paper, with `mirror` it begins near random weights. Frozen "
        "weights stay near their float ones. Batch norm statistics of the float network are measured first, by as many "
        "samples as `batchnorm_adaptation` has, for algorithms listed behind `slb` that look at activations.",
    )
    sharpness: float = Field(
        default=2.0,
        ge=1 / LARGEST,
        le=LARGEST,
        description="How strongly `trained` logits prefer near values: multiplies the squared distance to a value, "
        "measured in units of the spacing between values. With 2 the expected weight begins close to the float one.",
    )
    batchnorm_adaptation: BatchnormAdaptationConfig | None = Field(
        default_factory=BatchnormAdaptationConfig,
        description="Adaptation of batch norm statistics to the discrete weights; null skips it. After a "
        "`reconstruction`, whose end does that by the float network, there is none unless the config states it.",
    )
    range: RangeConfig = Field(default_factory=RangeConfig, description="First steps of quantized activations.")
    reconstruction: ReconstructionConfig | None = Field(
        default=None,
        description="A search without labels when the compressed network is created, from which training goes on, or "
        "which can be exported at once. If left out: none.",
    )

    @property
    def adaptation(self) -> BatchnormAdaptationConfig | None:
        """The adaptation that runs when the compressed network is created; None for none."""
        stated = "batchnorm_adaptation" in self.model_fields_set
        found = self.batchnorm_adaptation if stated or self.reconstruction is None else None
        return found if found is not None and found.num_bn_adaptation_samples else None


class ParamsConfig(Section):
    """How the search runs during training."""

    descent: DescentName = Field(
        default="mirror",
        description="How training moves the logits. `gradient`: every logit follows its own gradient, as in the "
        "paper. `mirror`: mirror descent on the probabilities, which moves each "
        "weight's distribution along its values; one number for each weight is trained, in the unit of the weight, so "
        "learning rates of float weights suit it.",
    )
    average: Average = Field(
        default="auto",
        description="What codes are made from with `descent` set to `mirror`: an exponential mean of the latents, "
        "since latents go on swinging. A number is its decay at each optimizer step; `auto` lets the decay rise with "
        f"their number, so that the mean is over the last {PARTS}th of the training; `none` takes the latents as they "
        "are.",
    )
    schedule: ScheduleName = Field(
        default="exponential",
        description="Curve on which the inverse temperature 1/tau rises from its start to its end.",
    )
    inverse_temperature_start: float = Field(
        default=1.0,
        ge=1 / LARGEST,
        le=LARGEST_INVERSE_TEMPERATURE,
        description="1/tau at the beginning (no unit). Small values keep the weights undecided.",
    )
    inverse_temperature_end: float | None = Field(
        default=None,
        ge=1 / LARGEST,
        le=LARGEST_INVERSE_TEMPERATURE,
        json_schema_extra={"default": _END_VALUE},
        description="1/tau at the end (no unit), above `inverse_temperature_start`. Not with "
        "`inverse_temperature_factor`.",
    )
    inverse_temperature_factor: float | None = Field(
        default=None,
        gt=1,
        le=LARGEST,
        description="Instead of `inverse_temperature_end`: 1/tau is multiplied by this in each epoch between start "
        "and end. Exponential schedule only.",
    )
    epochs: PositiveWhole | None = Field(
        default=None,
        description="Training epochs that the fractions below refer to. If left out: `epochs` at the config's top "
        "level, or those that `accuracy_aware_training` trains with a scheduler where these are fewer, else "
        f"{DEFAULT_EPOCHS}.",
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
        lt=1,
        json_schema_extra={"default": _END_FRACTION},
        description="The same as a fraction of `epochs`. Not with `end_epoch`. If left out, and 1/tau "
        "changes every epoch, the last epoch is discrete in any case.",
    )
    update_per_optimizer_step: bool = Field(
        default=True,
        description="true changes 1/tau at every optimizer step, false at every epoch: in short trainings the steps "
        "between epochs are large.",
    )
    steps_per_epoch: PositiveWhole | None = Field(
        default=None,
        description="Optimizer steps in an epoch, only with `update_per_optimizer_step`. If left out: counted in each "
        "epoch for the next; in the first one, the length of the registered data loader, without which 1/tau stays at "
        "its start.",
    )
    batchnorm: BatchNormName = Field(
        default="calibrate",
        description="`calibrate` computes batch norm statistics anew with the discrete weights before each "
        "evaluation; `state` keeps running statistics of their own for both kinds of weights during training, as the "
        "paper's state batch normalization.",
    )
    batchnorm_calibration_batches: Whole = Field(
        default=20, ge=1, description="Training batches for each such calibration. Not with `batchnorm` set to `state`."
    )

    def curve(self, default_epochs: int = DEFAULT_EPOCHS) -> TemperatureCurve:
        """1/tau over the epochs; `default_epochs` as for `epoch_range`."""
        start, end = self.epoch_range(default_epochs)
        first = self.inverse_temperature_start
        if self.inverse_temperature_factor is not None:
            last = end_value_from_factor(first, self.inverse_temperature_factor, end - start)
        else:
            last = self.effective_inverse_temperature_end or first
        return TemperatureCurve(self.schedule, first, last, start, end)

    @property
    def averaging(self) -> Averaging | None:
        """How latents are averaged; None for not at all."""
        if self.average == "none" or self.descent == "gradient":
            return None
        return Averaging(None if self.average == "auto" else self.average)

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
        if self.end_fraction is None and epochs > 1 and not self.update_per_optimizer_step:
            end = min(end, epochs - 1.0)  # a short run trains its discrete weights in the last epoch all the same
        return (
            start * epochs if self.start_epoch is None else self.start_epoch,
            end if self.end_epoch is None else self.end_epoch,
        )

    def range_contradiction(self, stated_epochs: int | None) -> list[Contradiction]:
        """The contradiction of a search that would end before it starts, or not while training runs.

        Args:
            stated_epochs: Training epochs that stand outside the section; None if none do.
        """
        epochs = self.epochs or stated_epochs
        contradictions = self._order_contradiction(epochs or DEFAULT_EPOCHS)
        if not contradictions and (epochs is not None or self.end_epoch is None):
            contradictions = self._reach_contradiction(epochs or DEFAULT_EPOCHS)
        if not contradictions:
            contradictions = self._growth_contradiction(epochs or DEFAULT_EPOCHS)
        return contradictions

    def _order_contradiction(self, epochs: int) -> list[Contradiction]:
        start, end = self.epoch_range(epochs)
        if end > start:
            return []
        stated = [name for name in ("end_epoch", "end_fraction", "start_epoch") if getattr(self, name) is not None]
        name = (*stated, "start_fraction")[0]
        side = "before the search ends" if name.startswith("start") else "after the search starts"
        allowed = f"a time {side} (the search runs from epoch {start:g} to {end:g} of {epochs})"
        return [((name,), allowed, "Change start or end, or the number of epochs")]

    def _growth_contradiction(self, epochs: int) -> list[Contradiction]:
        """A factor that takes 1/tau beyond what float32 holds."""
        if self.inverse_temperature_factor is None:
            return []
        start, end = self.epoch_range(epochs)
        rise = (end - start) * math.log10(self.inverse_temperature_factor)
        reached = math.log10(self.inverse_temperature_start) + rise
        if reached <= math.log10(LARGEST_INVERSE_TEMPERATURE):
            return []
        allowed = (
            f"one with which 1/tau ends at {LARGEST_INVERSE_TEMPERATURE:g} at most (from epoch {start:g} to {end:g} of "
            f"{epochs} it comes to 1e{reached:.3g})"
        )
        return [(("inverse_temperature_factor",), allowed, "Lower it")]

    def _reach_contradiction(self, epochs: int) -> list[Contradiction]:
        """The last time at which 1/tau changes is the beginning of the last epoch, or of its last step."""
        end, per_step = self.epoch_range(epochs)[1], self.update_per_optimizer_step
        if epochs == 1 and not per_step:
            allowed = "true with 1 epoch, in which 1/tau would never change"
            return [(("update_per_optimizer_step",), allowed, "Change it, or train for more epochs")]
        within_epoch = 1.0 / self.steps_per_epoch if self.steps_per_epoch else 0.0
        last = epochs - (within_epoch if per_step else 1.0)
        if end < epochs and end <= last:
            return []
        reached = f"at epoch {last:g} or before" if last < epochs else f"before epoch {epochs}"
        name = "end_epoch" if self.end_epoch is not None else "end_fraction"
        allowed = f"a time {reached}, of {epochs}, for the weights to become discrete in training; here it is {end:g}"
        more = "" if per_step else ", or set update_per_optimizer_step to true"
        return [((name,), allowed, f"Lower it, or train for more epochs{more}")]

    @model_validator(mode="after")
    def _check(self) -> ParamsConfig:
        contradictions = [*self._temperature_contradictions(), *self._switch_contradictions()]
        for edge in ("start", "end"):
            if getattr(self, f"{edge}_epoch") is not None and getattr(self, f"{edge}_fraction") is not None:
                allowed = f"either {edge}_epoch or {edge}_fraction, not both"
                contradictions.append(((f"{edge}_fraction",), allowed, "Remove one of them"))
        same_unit = (self.start_epoch is None) == (self.end_epoch is None)
        if not contradictions and self.epochs is not None:
            contradictions += self.range_contradiction(None)
        elif not contradictions and same_unit:
            contradictions += self._order_contradiction(DEFAULT_EPOCHS)
        refuse(contradictions)
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
        if self.descent == "gradient" and self.average not in ("auto", "none"):
            yield ("average",), 'none with descent "gradient", which has no latents', "Remove it, or change descent"
        if self.steps_per_epoch is not None and not self.update_per_optimizer_step:
            advice = "Set update_per_optimizer_step to true, or remove it"
            yield ("steps_per_epoch",), "none unless update_per_optimizer_step is true", advice
        if self.batchnorm == "state" and "batchnorm_calibration_batches" in self.model_fields_set:
            advice = 'Remove it, or set batchnorm to "calibrate"'
            yield ("batchnorm_calibration_batches",), 'none with batchnorm "state"', advice
