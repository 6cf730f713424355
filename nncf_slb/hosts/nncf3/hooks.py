"""What is put into a network as hooks, in the form that `nncf.torch.get_config` and `load_from_config` carry."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from nncf.torch.layer_utils import StatefulModuleInterface
from torch import Tensor, nn

from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.averaging import Averaging
from nncf_slb.search.choices import ScaleName
from nncf_slb.search.descent import GradientDescent
from nncf_slb.search.discrete_batchnorm import STALE
from nncf_slb.search.runtime import Codes, FixedWeight
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.values import ValueSet


class SearchHook(SearchableWeight, StatefulModuleInterface):  # type: ignore[misc]
    """A searched weight behind the parameter that holds its latents."""

    def get_config(self) -> dict[str, Any]:
        """Plain Python values from which `from_config` makes a hook to load a state dict into."""
        gradient = isinstance(self.descent, GradientDescent)
        averaging = None if isinstance(self.descent, GradientDescent) else self.descent.averaging
        return {
            "shape": list(self.weight_shape),
            "groups": self.groups,
            "values": dataclasses.asdict(self.values),
            "scale": self._kind_of_scale(),
            "sharpness": self.kind[2],
            "descent": "gradient" if gradient else "mirror",
            "averaging": None if averaging is None else dataclasses.asdict(averaging),
            "holds_flag": STALE in self._buffers,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SearchHook:
        """A hook that gives the chosen weights once a state dict is loaded."""
        averaging, values = config["averaging"], config["values"]
        hook = cls(
            _placeholder(torch.Size(config["shape"]), config["groups"]),
            ValueSet(**{**values, "table": tuple(values["table"])}),
            config["scale"],
            config["sharpness"],
            descent=config["descent"],
            averaging=None if averaging is None else Averaging(**averaging),
        )
        hook._parameter_is_known = False
        if config["holds_flag"]:
            hook.register_buffer(STALE, torch.tensor(0.0))
        return hook.eval()

    _parameter_is_known = True

    def forward(self, weight: Tensor | None = None) -> Tensor:
        """The weight to use; a restored hook learns here which parameter holds its latents."""
        if not self._parameter_is_known and weight is not None:
            holder = nn.Module()
            holder.weight = weight
            self._owner = (holder, "weight")
            if not isinstance(self.descent, GradientDescent):
                self.descent._owner = self._owner
            self._parameter_is_known = True
        return super().forward(weight)

    def _kind_of_scale(self) -> ScaleName:
        if self.scale is None:
            return "none"
        return "per_channel" if isinstance(self.scale, nn.Parameter) else "per_channel_fixed"


def _placeholder(shape: torch.Size, groups: int | None) -> nn.Module:
    """A layer with a weight of that shape."""
    layer = nn.Module() if groups is None else nn.ConvTranspose1d(groups, groups, 1, groups=groups)
    layer.weight = nn.Parameter(torch.ones(shape))
    return layer


class FixedWeightHook(FixedWeight, StatefulModuleInterface):  # type: ignore[misc]
    """An 8-bit weight behind the parameter that it was made from."""

    def get_config(self) -> dict[str, Any]:
        """Shapes to load a state dict into."""
        return {"shape": list(self.codes.shape), "scale": list(self.scale.shape), "values": len(self.values),
                "bits": self.bits}  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FixedWeightHook:
        """A hook to load a state dict into."""
        codes = torch.zeros(config["shape"], dtype=torch.uint8)
        values = torch.zeros(config["values"], dtype=torch.int8)
        return cls(Codes(codes, values, torch.ones(config["scale"]), config["bits"]))


class QuantizerHook(ActivationQuantizer, StatefulModuleInterface):  # type: ignore[misc]
    """A quantizer before a function that computes with searched weights."""

    def get_config(self) -> dict[str, Any]:
        """Arguments; the step is in the state dict."""
        return {"bits": self.bits, "mode": self.mode, "signed": self.signed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> QuantizerHook:
        """A hook to load a state dict into."""
        return cls(config["bits"], config["mode"], config["signed"])
