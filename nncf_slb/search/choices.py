"""Names that settings choose by, for those who must not load torch."""

from __future__ import annotations

from typing import Literal

DescentName = Literal["mirror", "gradient"]
ScaleName = Literal["per_channel", "per_channel_fixed", "none"]
LogitsName = Literal["trained", "random"]
SignMode = Literal["sign_polynomial", "sign_clipped"]
StepMode = Literal["lsq", "pact"]
ActivationMode = Literal[SignMode, StepMode]
BatchNormName = Literal["calibrate", "state"]
