"""The runs of a study: one network and scale, the same photographs and number of epochs for every method."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy.protocol import slb_section
from benchmarks.jobs import Job
from samples.super_resolution.recipes import RECIPES

BITS = (1, 2, 4)
ACTIVATIONS = (32, 8)
SCALES_OF_WEIGHTS = ("none", "per_channel_fixed", "per_channel")
# Learning rates of Adam that rivals and the float network trained on choose from, by validation.
RATES = (0.0003, 0.001)
# Rivals: quantizer of `benchmarks.accuracy.rivals` or NNCF's own, bits of weights and activations, name in the table.
# NNCF's has no single bit: with one it divides by zero in the first forward pass.
RIVALS = {
    "lsq_w1": (1, 32, "LSQ"),
    "lsq_w2": (2, 32, "LSQ"),
    "nncf_w2": (2, 8, "NNCF quantization"),
    "nncf_w8": (8, 8, "NNCF quantization"),
}
NOT_SEARCHED = ("head", "tail")


@dataclass(frozen=True)
class Runs:
    """Makers of runs.

    Attributes:
        model: Network of the recipes.
        scale: Factor of height and width.
        seed: Seed of every run.
        data: Folder of training images; photographs of installed packages if None.
        test_data: Folders of test images; likewise.
    """

    model: str = "espcn"
    scale: int = 2
    seed: int = 0
    data: Path | None = None
    test_data: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """Name of the study's results and pictures."""
        data = "".join(f"_{each.name}" for each in (self.data, *self.test_data) if each)
        return f"super_resolution_{self.model}_x{self.scale}{data}"

    def config(self, name: str) -> dict[str, Any]:
        """Recipe of the network at this scale."""
        return {
            **RECIPES[f"{self.model}_{name}"],
            "scale": self.scale,
            "seed": self.seed,
            "test_data": [str(folder) for folder in self.test_data],
        }

    def _job(self, name: str, config: dict[str, Any], labels: dict[str, Any], **other: Any) -> Job:
        return Job(f"{self.key}/{name}", config, labels=labels, **other)

    def float_start(self) -> Job:
        """The float network that everything else begins from."""
        return self._job("float", self.config("float"), {"method": "float", "weights": 32, "activations": 32})

    def float_more(self, rate: float, test: bool) -> Job:
        """The float network, trained on for as many epochs as a search takes."""
        config = self._with_rate(self.config("float"), rate)
        labels = {"method": "float, trained on", "weights": 32, "activations": 32, "rate": rate}
        return self._job(f"float_more/{rate:g}", config, labels, start=self.float_start().name, test=test)

    def search(self, bits: int, activations: int, weights: dict[str, Any] | None = None) -> Job:
        """`slb` as shipped, or with other settings of the weights, which leave the test part alone."""
        config = self.config(f"w{bits}a{activations}")
        slb_section(config)["weights"].update(weights or {})
        labels = {"method": "slb", "weights": bits, "activations": activations, **(weights or {})}
        own = "".join(f"_{key}_{value}" for key, value in (weights or {}).items())
        name = f"slb/w{bits}a{activations}{own}"
        return self._job(name, config, labels, start=self.float_start().name, test=not weights)

    def rival(self, name: str, rate: float, test: bool) -> Job:
        """A rival from the same float network."""
        bits, activations, shown = RIVALS[name]
        config = self._with_rate(self.config("float"), rate)
        labels = {"method": shown, "weights": bits, "activations": activations, "rate": rate}
        start = self.float_start().name
        if name.startswith("nncf"):
            config["compression"] = nncf_quantization(self.config(f"w{BITS[0]}a{activations}"), bits)
            if bits < 8:
                config["target_device"] = "TRIAL"  # NNCF's name for no limits; its CPU has 8 bits only
            return self._job(f"{name}/{rate:g}", config, labels, start=start, test=test)
        return self._job(f"{name}/{rate:g}", config, labels, start=start, test=test, rival=name)

    @staticmethod
    def _with_rate(config: dict[str, Any], rate: float) -> dict[str, Any]:
        return {**config, "optimizer": {**config["optimizer"], "base_lr": rate}}


def nncf_quantization(shipped: dict[str, Any], bits: int) -> dict[str, Any]:
    """NNCF's quantization where the shipped config searches, a scale per channel, other weights as they are."""
    (own,) = (each for each in shipped["compression"] if each["algorithm"] == "quantization")
    quantization: dict[str, Any] = copy.deepcopy(own)
    left_out = slb_section(shipped)["ignored_scopes"]
    quantization["weights"] = {"bits": bits, "per_channel": True, "ignored_scopes": left_out}
    return quantization
