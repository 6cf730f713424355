"""Recipes of the classification sample: a table for each network and data set, a rule for each pair of bits.

A name is ``NETWORK_DATASET_ENDING``. Endings: ``float`` (and ``bireal_float`` or ``hardtanh_float``, the float network
that 1-bit inputs begin from), ``w2a4`` for each of `PAIRS`, ``mixed2a8`` (bits of each layer by measurement, 2 on
average) and ``w2a4_paper`` (the paper's own training, from random logits).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from samples.training.recipes import QUANTIZATION_START, Config, Recipes

FULL = 32  # bits of activations that stay as they are
# The paper's rows: (bits of the weights, bits of the activations).
PAIRS = (
    (1, 1), (1, 2), (1, 4), (1, 8), (1, FULL), (2, 2), (2, 4), (2, 8), (2, FULL), (4, 4), (4, 8), (4, FULL),
)  # fmt: skip
MIXED_MEAN_BITS = 2.0


@dataclass(frozen=True)
class Network:
    """Where the layers of a network are, in NNCF's scope syntax, and what 1-bit inputs change in it.

    Attributes:
        ends: First and last layer, which slb leaves in full precision.
        inner: The searched layers, whose weights NNCF's quantization leaves alone beside 8-bit activations.
        convolutions: The searched layers, whose inputs it leaves alone too where slb quantizes them (1 to 4 bits).
        unquantized: Operations besides, whose inputs stay in full precision where slb quantizes those of the layers.
        binary_form: Name and parameters of the form that 1-bit inputs need.
        binary_ends: Layers that slb leaves in full precision as well in that form.
        binary_convolutions: `convolutions` of that form.
        binary_unquantized: `unquantized` of that form.
    """

    ends: tuple[str, str]
    inner: str
    convolutions: str
    unquantized: tuple[str, ...]
    binary_form: tuple[str, Config]
    binary_ends: tuple[str, ...]
    binary_convolutions: str
    binary_unquantized: tuple[str, ...]

    def kept(self, binary: bool) -> list[str]:
        """Layers that slb leaves in full precision."""
        first, last = self.ends
        return [first, *(self.binary_ends if binary else ()), last]

    def left_by_quantization(self, binary: bool) -> list[str]:
        """What NNCF's quantization leaves alone where slb quantizes the inputs."""
        if binary:
            return [self.binary_convolutions, *self.binary_unquantized]
        return [self.convolutions, *self.unquantized]


_RESIDUAL = Network(
    ends=(r"{re}NNCFConv2d\[stem\]", r"{re}NNCFLinear\[fc\]"),
    inner=r"{re}\[stage\d\]",
    convolutions=r"{re}\[stage\d\].*NNCFConv2d",
    unquantized=("{re}__add__",),
    binary_form=("bireal", {"bireal": True}),
    binary_ends=(r"{re}\[shortcut\]",),
    binary_convolutions=r"{re}NNCFConv2d\[conv\d\]",
    binary_unquantized=("{re}__add__",),
)
_DIGITS_CONVOLUTIONS, _VGG_CONVOLUTIONS = r"{re}NNCFConv2d\[conv\d\]", r"{re}\[convs\]/NNCFConv2d\[[1-5]\]"
NETWORKS = {
    "digits_net": Network(
        ends=(r"{re}NNCFConv2d\[stem\]", r"{re}NNCFLinear\[fc\]"),
        inner=_DIGITS_CONVOLUTIONS,
        convolutions=_DIGITS_CONVOLUTIONS,
        unquantized=(),
        binary_form=("hardtanh", {"activation": "hardtanh"}),
        binary_ends=(),
        binary_convolutions=_DIGITS_CONVOLUTIONS,
        binary_unquantized=(),
    ),
    "small_resnet": _RESIDUAL,
    "resnet20": _RESIDUAL,
    "vgg_small": Network(
        ends=(r"{re}\[convs\]/NNCFConv2d\[0\]", r"{re}NNCFLinear\[fc\]"),
        inner=_VGG_CONVOLUTIONS,
        convolutions=_VGG_CONVOLUTIONS,
        unquantized=(),
        binary_form=("hardtanh", {"activation": "hardtanh"}),
        binary_ends=(),
        binary_convolutions=_VGG_CONVOLUTIONS,
        binary_unquantized=("{re}max_pool2d",),
    ),
    "resnet18": _RESIDUAL,
}


@dataclass(frozen=True)
class Dataset:
    """A data set and how networks are trained on it: epochs, Adam's rate in a search, weight decay of float SGD."""

    num_classes: int
    image_shape: tuple[int, int, int]
    batch_size: int
    float_epochs: int
    search_epochs: int
    search_rate: float
    float_weight_decay: float = 5e-4


DATASETS = {
    "digits": Dataset(10, (1, 8, 8), 50, 20, 20, 0.005),
    "fashion_mnist": Dataset(10, (1, 28, 28), 200, 10, 8, 0.01),
    "cifar10": Dataset(10, (3, 32, 32), 128, 200, 100, 0.002),
    "cifar100": Dataset(100, (3, 32, 32), 128, 200, 100, 0.002),
    "imagenet": Dataset(1000, (3, 224, 224), 256, 90, 30, 0.001, float_weight_decay=1e-4),
}
# Networks on data sets, with parameters of the network.
COMBINATIONS: dict[tuple[str, str], Config] = {
    ("digits_net", "digits"): {},
    ("small_resnet", "fashion_mnist"): {},
    ("resnet20", "fashion_mnist"): {"in_channels": 1},
    ("resnet20", "cifar10"): {},
    ("resnet20", "cifar100"): {},
    ("vgg_small", "cifar10"): {},
    ("vgg_small", "cifar100"): {},
    ("resnet18", "imagenet"): {},
}


@dataclass(frozen=True)
class Paper:
    """The paper's training of a network on a data set.

    Attributes:
        batch_size: Images in a batch.
        epochs: Epochs.
        optimizer: The config's ``optimizer``.
        start_fraction: Share of the epochs after which 1/tau begins to rise.
        factors: What multiplies 1/tau in each epoch, by the bits of the weights.
        full_precision_more: Added to the factor where activations stay in 32 bits: 0.01 on CIFAR, nothing on ImageNet.
        always_binary_form: Whether the network has the form of 1-bit inputs with all bits.
    """

    batch_size: int
    epochs: int
    optimizer: Config
    start_fraction: float
    factors: dict[int, float]
    full_precision_more: float
    always_binary_form: bool = False

    def factor(self, weight_bits: int, input_bits: int) -> float:
        """``inverse_temperature_factor`` of a pair of bits."""
        more = self.full_precision_more if input_bits == FULL else 0.0
        return round(self.factors[weight_bits] + more, 2)


def _paper_sgd(rate: float, weight_decay: float) -> Config:
    return {
        "type": "SGD", "base_lr": rate, "schedule_type": "multistep", "steps": [200, 300, 400], "gamma": 0.1,
        "optimizer_params": {"momentum": 0.9, "weight_decay": weight_decay},
    }  # fmt: skip


_CIFAR_FACTORS = {1: 1.03, 2: 1.04, 4: 1.05}
PAPER = {
    ("resnet20", "cifar10"): Paper(100, 500, _paper_sgd(0.1, 1e-4), 0.4, _CIFAR_FACTORS, 0.01),
    ("vgg_small", "cifar10"): Paper(100, 500, _paper_sgd(0.02, 5e-4), 0.3, _CIFAR_FACTORS, 0.01),
    ("resnet18", "imagenet"): Paper(
        256, 240, {"type": "Adam", "base_lr": 0.001, "schedule_type": "cosine"}, 0.4, {1: 1.05, 2: 1.05, 4: 1.05}, 0.0,
        always_binary_form=True,
    ),
}  # fmt: skip


def _base(model: str, dataset: str, binary: bool) -> Config:
    """What a config says of network and data."""
    data, form = DATASETS[dataset], NETWORKS[model].binary_form[1] if binary else {}
    return {
        "model": model,
        "model_params": {**COMBINATIONS[model, dataset], **form},
        "dataset": dataset,
        "num_classes": data.num_classes,
        "input_info": {"sample_size": [1, *data.image_shape]},
        "batch_size": data.batch_size,
        "seed": 0,
    }


def _float(model: str, dataset: str, binary: bool) -> Config:
    """Training of the float network that a search begins from."""
    data = DATASETS[dataset]
    params = {"momentum": 0.9, "nesterov": True, "weight_decay": data.float_weight_decay}
    optimizer = {"type": "SGD", "base_lr": 0.1, "schedule_type": "cosine", "optimizer_params": params}
    return {**_base(model, dataset, binary), "epochs": data.float_epochs, "optimizer": optimizer}


def _search(model: str, dataset: str, weights: Config, input_bits: int) -> Config:
    """Search from the float network; 1-bit weights end at a higher 1/tau than the default."""
    data, binary = DATASETS[dataset], input_bits == 1
    slb: Config = {"algorithm": "slb", "weights": weights}
    if input_bits < 8:
        slb["activations"] = {"bits": input_bits}
    if weights["bits"] == 1:
        slb["params"] = {"inverse_temperature_end": 100}
    slb["ignored_scopes"] = NETWORKS[model].kept(binary)
    optimizer = {"type": "Adam", "base_lr": data.search_rate, "schedule_type": "cosine"}
    return {
        **_base(model, dataset, binary), "epochs": data.search_epochs, "optimizer": optimizer,
        "compression": _beside_quantization(slb, NETWORKS[model], input_bits),
    }  # fmt: skip


def _beside_quantization(slb: Config, network: Network, input_bits: int) -> Any:
    """slb alone with 32-bit activations; else NNCF's quantization for whatever slb leaves in 8 bits."""
    if input_bits == FULL:
        return slb
    if input_bits == 8:
        return [slb, {**QUANTIZATION_START, "weights": {"ignored_scopes": [network.inner]}}]
    return [slb, {**QUANTIZATION_START, "ignored_scopes": network.left_by_quantization(input_bits == 1)}]


def _paper(model: str, dataset: str, weight_bits: int, input_bits: int) -> Config:
    """The paper's training: values without a scale, random logits, gradient descent on them, PACT activations."""
    paper = PAPER[model, dataset]
    binary = input_bits == 1 or paper.always_binary_form
    slb: Config = {"algorithm": "slb", "weights": {"bits": weight_bits, "values": "uniform", "scale": "none"}}
    if input_bits < FULL:
        slb["activations"] = {"bits": 1} if input_bits == 1 else {"bits": input_bits, "mode": "pact"}
    slb["initializer"] = {"logits": "random"}
    slb["params"] = {
        "descent": "gradient", "schedule": "exponential",
        "inverse_temperature_factor": paper.factor(weight_bits, input_bits),
        "start_fraction": paper.start_fraction, "end_fraction": 0.9, "batchnorm": "state",
    }  # fmt: skip
    slb["ignored_scopes"] = NETWORKS[model].kept(binary)
    return {
        **_base(model, dataset, binary), "batch_size": paper.batch_size, "epochs": paper.epochs,
        "optimizer": paper.optimizer, "compression": slb,
    }  # fmt: skip


def _rules(model: str, dataset: str) -> dict[str, Callable[[], Config]]:
    mixed = {"bits": "auto", "budget": {"mean_bits": MIXED_MEAN_BITS}}
    rules: dict[str, Callable[[], Config]] = {
        "float": partial(_float, model, dataset, False),
        f"{NETWORKS[model].binary_form[0]}_float": partial(_float, model, dataset, True),
        **{f"w{w}a{a}": partial(_search, model, dataset, {"bits": w}, a) for w, a in PAIRS},
        f"mixed{MIXED_MEAN_BITS:g}a8": partial(_search, model, dataset, mixed, 8),
    }
    if (model, dataset) in PAPER:
        rules |= {f"w{w}a{a}_paper": partial(_paper, model, dataset, w, a) for w, a in PAIRS}
    return rules


RECIPES = Recipes({f"{model}_{dataset}": _rules(model, dataset) for model, dataset in COMBINATIONS})
