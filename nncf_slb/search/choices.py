"""Names that settings choose by, for those who must not load torch."""

from __future__ import annotations

from typing import Literal

DescentName = Literal["mirror", "gradient"]
ScaleName = Literal["per_channel", "per_channel_fixed", "none"]
LogitsName = Literal["trained", "random"]
BatchNormName = Literal["calibrate", "state"]
