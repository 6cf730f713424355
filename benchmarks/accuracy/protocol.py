"""What every method gets: network, data, epochs, seeds, float checkpoint, and the learning rates it may choose from."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.jobs import Job
from samples.classification.recipes import FULL, PAIRS, RECIPES

ROWS = PAIRS  # the paper's rows
# Rows that are run with distillation as well.
DISTILLED_ROWS = tuple(row for row in ROWS if row[1] >= 8)
# Settings in the table of epochs.
AS_SHIPPED = "as shipped"
RECONSTRUCTED = "after a search without labels"


def logits_optimizer(kind: str, rate: float, weight_decay: float = 0, **params: Any) -> dict[str, Any]:
    """An optimizer of the logits apart from the rest."""
    params["weight_decay"] = weight_decay
    return {"type": kind, "base_lr": rate, "schedule_type": "cosine", "optimizer_params": params}


# Gradient descent of the logits wants an optimizer of their own, by the ablation.
LOGITS_OPTIMIZER = logits_optimizer("Adam", 0.02)
# Mirror descent in few epochs wants a low rate of the logits, by the validation part: 2 epochs at 0.0005.
SLOW_LOGITS = 0.0005
# Distillation, by the ablation: with gradient descent of the logits, with which it has the lowest losses at 1 bit.
# Weights stay undecided longer with it: at a 1/tau of 20, discrete networks lost 0.1 to 0.6 points to searched ones.
DISTILLATION = {"algorithm": "knowledge_distillation", "type": "softmax", "scale": 0.5, "temperature": 4}
DISTILLED_PARAMS = {"descent": "gradient", "inverse_temperature_end": 100.0}
DISTILLED, DISTILLED_BY_MIRROR = "slb, distilled", "slb, mirror descent, distilled"  # names in the tables
# What the paper's tables lose against the float network, in points of top-1 (CIFAR-10), in the order of `ROWS`.
PAPER_GAPS = {
    "resnet20": (6.6, 2.6, 1.8, 1.6, 1.5, 1.5, 0.8, 0.4, 0.1, 0.5, 0.3, 0.0),
    "vgg_small": (2.1, 0.7, 0.6, 0.3, 0.3, 0.6, 0.2, 0.1, 0.1, 0.3, 0.1, 0.0),
}


def _optimizer(kind: str, rate: float) -> dict[str, Any]:
    sgd = {"optimizer_params": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}}
    return {"type": kind, "base_lr": rate, "schedule_type": "cosine", **(sgd if kind == "SGD" else {})}


# Optimizers and learning rates that each method may choose from, by validation accuracy with the first seed.
RATES = (("Adam", 0.003), ("Adam", 0.01), ("SGD", 0.05))


# Rivals by method: (bits of the weights, bits of the activations, name in the tables).
METHODS = {
    "bwn_w1": (1, 32, "BWN"),
    "dorefa_w1": (1, 32, "DoReFa"),
    "lsq_w1": (1, 32, "LSQ"),
    "brevitas_w1": (1, 32, "Brevitas, binary"),
    "brevitas_ternary": (2, 32, "Brevitas, ternary"),
    "brevitas_w2": (2, 32, "Brevitas, 2 bits"),
    "dorefa_w2": (2, 32, "DoReFa"),
    "lsq_w2": (2, 32, "LSQ"),
    "nncf_w2": (2, 8, "NNCF quantization"),
    "brevitas_w4": (4, 32, "Brevitas, 4 bits"),
    "dorefa_w4": (4, 32, "DoReFa"),
    "lsq_w4": (4, 32, "LSQ"),
    "nncf_w4": (4, 8, "NNCF quantization"),
}
# Compared with `slb` of the same bits seed by seed.
PAIRED_METHODS = ("bwn_w1", "dorefa_w1", "lsq_w1", "brevitas_w1", "lsq_w2", "lsq_w4")
PAIRED_ROWS = ((1, FULL), (2, FULL), (4, FULL))
# Rivals that are run with distillation as well: all of one bit, and the best of more bits.
DISTILLED_METHODS = ("bwn_w1", "dorefa_w1", "lsq_w1", "brevitas_w1", "lsq_w2", "lsq_w4")


@dataclass(frozen=True)
class Protocol:
    """One network on one data set.

    Attributes:
        network: Model of the sample.
        dataset: Data set of the sample.
        epochs: Epochs of every method.
        seeds: Seeds of data order, augmentation and random weights, and of the float networks.
        more_seeds: Seeds besides, for what is compared in pairs: `PAIRED_ROWS` and `PAIRED_METHODS`.
    """

    network: str = "small_resnet"
    dataset: str = "fashion_mnist"
    epochs: int = 8
    seeds: tuple[int, ...] = (0, 1, 2)
    more_seeds: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Name of the study's results and pictures."""
        return f"{self.network}_{self.dataset}"

    def config(self, name: str, seed: int, epochs: int | None = None) -> dict[str, Any]:
        """Recipe of this network and data set, with seed and epochs."""
        config = RECIPES[f"{self.key}_{name}"]
        return {**config, "seed": seed, "epochs": config["epochs"] if epochs is None else epochs}

    def float_start(self, name: str, seed: int) -> Job:
        """The float network that all methods with a config and a seed start from: one for each architecture."""
        architecture = self.config(name, 0)["model_params"]
        kinds = ("float", "bireal_float", "hardtanh_float")
        found = [kind for kind in kinds if self._has(kind) and self.config(kind, 0)["model_params"] == architecture]
        labels = {"method": "float", "setting": found[0], "seed": seed}
        return Job(f"start/{found[0]}/seed{seed}", self.config(found[0], seed), labels=labels, test=False)

    def _has(self, name: str) -> bool:
        return f"{self.key}_{name}" in RECIPES

    def run_of(self, row: tuple[int, int], seed: int, random: bool = False, epochs: int | None = None) -> Job:
        """`slb` as shipped, from the float checkpoint or from random weights and logits."""
        name = f"w{row[0]}a{row[1]}"
        config = self.config(name, seed, self.epochs if epochs is None else epochs)
        if random:
            slb_section(config)["initializer"] = {"logits": "random"}
        architecture = self.float_start(name, seed)
        start = None if random else architecture.name
        origin = "random" if random else "checkpoint"
        labels = {
            "method": "slb", "setting": architecture.labels["setting"], "weights": row[0],
            "activations": row[1], "start": origin, "seed": seed,
        }  # fmt: skip
        folder = f"rows/{origin}" if config["epochs"] == self.epochs else f"epochs/{config['epochs']}"
        return Job(f"{folder}/{name}/seed{seed}", config, start, None, labels)

    def search(self, row: tuple[int, int], rate: tuple[str, float], seed: int, test: bool, random: bool = False) -> Job:
        """`run_of` with one of the `RATES`, among which all methods choose."""
        return _with_rate(self.run_of(row, seed, random), rate, test)

    def short_run(self, bits: int, seed: int, epochs: int, logits_rate: float | None = None) -> Job:
        """`slb` in some number of epochs (32-bit activations), as shipped or with a learning rate of the logits."""
        plain = self.run_of((bits, 32), seed, epochs=epochs)
        if logits_rate is None:
            return replace(plain, labels={**plain.labels, "setting": AS_SHIPPED})
        config = {**plain.config, "logits_optimizer": logits_optimizer("Adam", logits_rate)}
        labels = {**plain.labels, "setting": f"logits at {logits_rate:g}"}
        return Job(f"epochs/{epochs}/w{bits}-slow-logits/seed{seed}", config, plain.start, None, labels)

    def reconstructed_run(self, bits: int, seed: int, epochs: int) -> Job:
        """`short_run` as shipped, after a search without labels at its beginning."""
        plain = self.run_of((bits, 32), seed, epochs=epochs)
        config = copy.deepcopy(plain.config)
        slb_section(config).setdefault("initializer", {})["reconstruction"] = {}
        labels = {**plain.labels, "setting": RECONSTRUCTED}
        return Job(f"epochs/{epochs}/w{bits}-reconstructed/seed{seed}", config, plain.start, None, labels)

    def distilled(self, row: tuple[int, int], rate: tuple[str, float], seed: int, test: bool) -> Job:
        """`slb` from the float checkpoint, with that network as the teacher of NNCF's distillation."""
        plain = self.run_of(row, seed)
        config = {**copy.deepcopy(plain.config), "logits_optimizer": LOGITS_OPTIMIZER}
        slb_section(config).setdefault("params", {}).update(DISTILLED_PARAMS)
        own = config["compression"]
        config["compression"] = [*(own if isinstance(own, list) else [own]), DISTILLATION]
        labels = {**plain.labels, "method": DISTILLED}
        name = f"rows/distilled/w{row[0]}a{row[1]}/seed{seed}"
        return _with_rate(Job(name, config, plain.start, None, labels), rate, test)

    def distilled_by_mirror(self, row: tuple[int, int], rate: tuple[str, float], seed: int, test: bool) -> Job:
        """`slb` as shipped, with mirror descent and the mean, and with the float network as its teacher."""
        plain = self.run_of(row, seed)
        config = copy.deepcopy(plain.config)
        own = config["compression"]
        config["compression"] = [*(own if isinstance(own, list) else [own]), DISTILLATION]
        labels = {**plain.labels, "method": DISTILLED_BY_MIRROR}
        name = f"rows/distilled_by_mirror/w{row[0]}a{row[1]}/seed{seed}"
        return _with_rate(Job(name, config, plain.start, None, labels), rate, test)

    def equal_bytes(self, bits: int, seed: int) -> list[Job]:
        """The same bits in every layer, and bits chosen layer by layer with that mean: codes of no more bytes."""
        shipped = self.run_of((2, 32), seed)
        choices = {"uniform": {"bits": bits}, "auto": {"bits": "auto", "budget": {"mean_bits": float(bits)}}}
        jobs = []
        for setting, weights in choices.items():
            config = copy.deepcopy(shipped.config)
            slb_section(config)["weights"].update(weights)
            labels = {**shipped.labels, "setting": setting, "weights": bits}
            jobs.append(Job(f"mixed/{bits}/{setting}/seed{seed}", config, shipped.start, None, labels))
        return jobs

    def float_more(self, name: str, rate: tuple[str, float], seed: int, test: bool, random: bool = False) -> Job:
        """The float network of a config, trained for the same epochs as every method."""
        start = self.float_start(name, seed)
        config = {**copy.deepcopy(start.config), "seed": seed, "epochs": self.epochs, "optimizer": _optimizer(*rate)}
        origin = "random" if random else "checkpoint"
        kind = start.labels["setting"]
        labels = {
            "method": "float", "setting": kind, "weights": 32, "activations": 32, "start": origin, "seed": seed,
            "rate": rate,
        }  # fmt: skip
        name = f"{kind}/{origin}/{rate[0]}-{rate[1]:g}/seed{seed}"
        return Job(name, config, None if random else start.name, None, labels, test)

    def rival(self, method: str, rate: tuple[str, float], seed: int, test: bool, distilled: bool = False) -> Job:
        """A rival from the same float checkpoint: a quantizer of `rivals`, or NNCF's ``quantization``.

        Args:
            method: One of `METHODS`.
            rate: Optimizer and learning rate.
            seed: Seed.
            test: Whether the test set is used.
            distilled: Whether the float network teaches, as it does for `distilled` searches; not NNCF's.
        """
        start = self.float_start("w2a32", seed)
        config = {**copy.deepcopy(start.config), "seed": seed, "epochs": self.epochs, "optimizer": _optimizer(*rate)}
        quantizer: str | None = method
        if method.startswith("nncf_"):
            config["compression"] = nncf_quantization(int(method[-1]))
            config["target_device"] = "TRIAL"  # NNCF's name for no limits; its CPU has 8 bits only
            quantizer = None
        weights, activations, shown = METHODS[method]
        if distilled:
            config["compression"] = [DISTILLATION]
            method, shown = f"{method}_distilled", f"{shown}, distilled"
        labels = {"method": shown, "weights": weights, "activations": activations, "seed": seed, "rate": rate}
        return Job(f"rivals/{method}/{rate[0]}-{rate[1]:g}/seed{seed}", config, start.name, quantizer, labels, test)


def _with_rate(shipped: Job, rate: tuple[str, float], test: bool) -> Job:
    """A search with one of the `RATES`; the one with the optimizer of its config keeps its name."""
    labels, optimizer = {**shipped.labels, "rate": rate}, _optimizer(*rate)
    if optimizer == shipped.config["optimizer"]:
        return replace(shipped, labels=labels, test=test)
    folder, seed = shipped.name.rsplit("/", 1)
    config = {**shipped.config, "optimizer": optimizer}
    return replace(shipped, name=f"{folder}/{rate[0]}-{rate[1]:g}/{seed}", config=config, labels=labels, test=test)


def slb_section(config: dict[str, Any]) -> dict[str, Any]:
    """The slb section of a sample's config, alone or in a list."""
    compression = config["compression"]
    sections = compression if isinstance(compression, list) else [compression]
    return next(section for section in sections if section["algorithm"] == "slb")


def nncf_quantization(bits: int) -> dict[str, Any]:
    """NNCF's quantization: the inner convolutions' weights in `bits`, activations in 8, other weights as they are.

    A scale per channel is what NNCF has on a CPU; ``TRIAL``, which alone allows fewer bits than 8, has one per layer.
    """
    return {
        "algorithm": "quantization",
        "initializer": {
            "range": {"num_init_samples": 400},
            "batchnorm_adaptation": {"num_bn_adaptation_samples": 2000},
        },
        "weights": {
            "bits": bits,
            "per_channel": True,
            "ignored_scopes": ["{re}\\[stem\\]", "{re}\\[convs\\]/.*\\[0\\]", "{re}\\[fc\\]"],
        },
    }
