"""What the search does at one moment of training: pure functions of time.

The paper (section 3.2) has a falling temperature alone. What else the config offers is marked so: weights trained
straight through once they are discrete (forward of Courbariaux et al., 2015), noise early (Gumbel-softmax, Jang et al.,
2017), and deciding the most confident weights first (in the manner of Zhou et al., "Incremental Network Quantization",
2017).
"""

from __future__ import annotations

from dataclasses import dataclass

from nncf_slb.search.temperature import TemperatureCurve


@dataclass(frozen=True)
class Phase:
    """One moment.

    Attributes:
        inverse_temperature: ``1 / tau``.
        discrete: Training uses the chosen weights.
        straight_through: While `discrete`, logits get the gradient of the expected weights; else none.
        noise: Factor of the Gumbel noise that is added to ``logits / tau`` in training.
        decided: Share of the weights, from 0 to 1, whose choice is final.
    """

    inverse_temperature: float = 1.0
    discrete: bool = False
    straight_through: bool = False
    noise: float = 0.0
    decided: float = 0.0


@dataclass(frozen=True)
class PhasePlan:
    """Phases over the epochs.

    Attributes:
        curve: Inverse temperature; its end is where the weights become discrete.
        straight_through: What follows that end.
        noise: Factor of the noise at the first epoch; falls on a line to 0 where the temperature ends.
        decides_gradually: Whether the share of decided weights rises on a line from 0 to 1 while the temperature falls.
    """

    curve: TemperatureCurve
    straight_through: bool = False
    noise: float = 0.0
    decides_gradually: bool = False

    def __call__(self, epoch: float) -> Phase:
        """Phase at `epoch` (zero-based, fractional within an epoch)."""
        curve = self.curve
        discrete = curve.has_ended(epoch)
        return Phase(
            inverse_temperature=curve(epoch),
            discrete=discrete,
            straight_through=discrete and self.straight_through,
            noise=self.noise * max(0.0, 1.0 - epoch / curve.end_epoch),
            decided=curve.progress(epoch) if self.decides_gradually else 0.0,
        )
