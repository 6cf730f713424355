"""The ``"knowledge_distillation"`` section, for hosts whose NNCF has none; its keys and defaults are NNCF 2.19's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from nncf_slb.config.errors import refuse
from nncf_slb.config.fields import LARGEST, Section


class DistillationConfig(Section):
    """A float copy of the network teaches the searched one."""

    algorithm: Literal["knowledge_distillation"] = Field(description="Name of the algorithm.")
    type: Literal["softmax", "mse"] = Field(
        description="`softmax`: cross entropy between the classes of both networks. `mse`: mean squared difference of "
        "their outputs."
    )
    scale: float = Field(default=1.0, gt=0, le=LARGEST, description="Factor of the loss.")
    temperature: float = Field(
        default=1.0, ge=1 / LARGEST, le=LARGEST, description="Logits are divided by it; `softmax` only."
    )

    @model_validator(mode="after")
    def _check(self) -> DistillationConfig:
        if self.type == "mse" and "temperature" in self.model_fields_set:
            refuse([(("temperature",), 'none with type "mse"', "Remove it")])
        return self
