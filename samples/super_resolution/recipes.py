"""Recipes of the super-resolution sample: a table of networks, a rule for each pair of bits.

A name is ``NETWORK_ENDING``; endings are ``float`` and ``w2a8`` for each of `PAIRS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from samples.training.recipes import QUANTIZATION_START, Config, Recipes

FULL = 32  # bits of activations that stay as they are
PAIRS = tuple((weights, inputs) for weights in (1, 2, 4) for inputs in (8, FULL))
# First and last layer, which stay in full precision.
_ENDS = (r"{re}NNCFConv2d\[head\]", r"{re}NNCFConv2d\[tail\]")


@dataclass(frozen=True)
class Network:
    """A network, what it is trained on, and where its layers are in NNCF's scope syntax.

    Attributes:
        channels: 1 for luma, 3 for RGB.
        patch_size: Height and width of a training patch in low resolution.
        rate: Learning rate of Adam.
        inner: The searched layers, whose weights NNCF's quantization leaves alone.
        unquantized: Operations that it leaves in full precision.
        params: The config's ``model_params``.
    """

    channels: int
    patch_size: int
    rate: float
    inner: tuple[str, ...]
    unquantized: tuple[str, ...] = ()
    params: Config = field(default_factory=dict)


NETWORKS = {
    "espcn": Network(1, 24, 0.001, (r"{re}NNCFConv2d\[body\]",), ("{re}pixel_shuffle",)),
    "vdsr": Network(
        1, 24, 0.0005, (r"{re}ModuleList\[body\]",), ("{re}interpolate", "{re}VDSR/__add__"),
        {"depth": 20, "features": 64},
    ),
    "edsr": Network(
        3, 48, 0.0005, (r"{re}Sequential\[blocks\]", r"{re}NNCFConv2d\[body_end\]", r"{re}ModuleList\[enlarge\]"),
        params={"blocks": 16, "features": 64},
    ),
}  # fmt: skip


def _float(model: str) -> Config:
    network = NETWORKS[model]
    return {
        "model": model,
        "model_params": dict(network.params),
        "dataset": "photographs",
        "scale": 2,
        "channels": network.channels,
        "patch_size": network.patch_size,
        "patches": 4000,
        "batch_size": 16,
        "loss": "l1",
        "seed": 0,
        "epochs": 30,
        "optimizer": {"type": "Adam", "base_lr": network.rate, "schedule_type": "cosine"},
    }


def _search(model: str, weight_bits: int, input_bits: int) -> Config:
    """Training of the float network, and slb: alone, or beside NNCF's quantization with 8-bit activations."""
    network = NETWORKS[model]
    compression: Any = {"algorithm": "slb", "weights": {"bits": weight_bits}, "ignored_scopes": list(_ENDS)}
    if input_bits < FULL:
        quantization = {**QUANTIZATION_START, "weights": {"ignored_scopes": list(network.inner)}}
        if network.unquantized:
            quantization["ignored_scopes"] = list(network.unquantized)
        compression = [compression, quantization]
    shape = [1, network.channels, network.patch_size, network.patch_size]
    return {**_float(model), "input_info": {"sample_size": shape}, "compression": compression}


RECIPES = Recipes(
    {
        model: {"float": partial(_float, model), **{f"w{w}a{a}": partial(_search, model, w, a) for w, a in PAIRS}}
        for model in NETWORKS
    }
)
