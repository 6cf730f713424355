"""One change at a time to the settings that the study began with, by validation accuracy: what the defaults rest on."""

from __future__ import annotations

import copy
from typing import Any

from benchmarks.accuracy.protocol import DISTILLATION, LOGITS_OPTIMIZER, Protocol, logits_optimizer, slb_section
from benchmarks.jobs import Job

Patch = dict[str, Any]


def _params(**values: Any) -> Patch:
    return {"params": values}


def _logits(kind: str, rate: float, weight_decay: float = 0, **params: Any) -> Patch:
    return {"logits_optimizer": logits_optimizer(kind, rate, weight_decay, **params)}


def _adam(rate: float) -> Patch:
    return {"type": "Adam", "base_lr": rate, "schedule_type": "cosine"}


def _mirror(rate: float, **params: Any) -> Patch:
    return _params(descent="mirror", **params) | {"logits_optimizer": _adam(rate)}


def _distilled(scale: float) -> Patch:
    return {"distillation": {**DISTILLATION, "scale": scale}}


# What differs from the shipped settings in the first row of the table, from which every other row has one change.
BASE = _params(
    descent="gradient", inverse_temperature_end=20.0, update_per_optimizer_step=False, batchnorm_calibration_batches=50
)
# (what is changed, the setting, patch of the slb section; `logits_optimizer`, `optimizer` and `distillation` patch the
# config around it). Settings that equal the first row's are left out.
VARIANTS: tuple[tuple[str, str, Patch], ...] = (
    ("descent", "mirror, Adam 0.0005", _mirror(0.0005)),
    ("descent", "mirror, Adam 0.005", _mirror(0.005)),
    ("descent", "mirror, Adam 0.01", _mirror(0.01)),
    ("descent", "mirror, Adam 0.02", _mirror(0.02)),
    ("descent", "mirror, Adam 0.01, 1/tau to 100", _mirror(0.01, inverse_temperature_end=100.0)),
    ("1/tau, end", "5", _params(inverse_temperature_end=5.0)),
    ("1/tau, end", "20", _params(inverse_temperature_end=20.0)),
    ("1/tau, end", "100", _params(inverse_temperature_end=100.0)),
    ("1/tau, start", "0.3", _params(inverse_temperature_start=0.3)),
    ("1/tau, start", "1", _params(inverse_temperature_start=1.0)),
    ("1/tau, start", "3", _params(inverse_temperature_start=3.0)),
    ("1/tau, shape", "exponential", _params(schedule="exponential")),
    ("1/tau, shape", "linear", _params(schedule="linear")),
    ("1/tau, shape", "sine", _params(schedule="sine")),
    ("1/tau, update", "every epoch", _params(update_per_optimizer_step=False)),
    ("1/tau, update", "every step", _params(update_per_optimizer_step=True)),
    ("1/tau, update", "every step, end 100", _params(update_per_optimizer_step=True, inverse_temperature_end=100.0)),
    ("end of the search", "50 %, then fixed", _params(end_fraction=0.5)),
    ("end of the search", "85 %, then fixed", _params(end_fraction=0.85)),
    ("optimizer of the logits", "Adam 0.005", _logits("Adam", 0.005)),
    ("optimizer of the logits", "Adam 0.01", _logits("Adam", 0.01)),
    ("optimizer of the logits", "Adam 0.02", _logits("Adam", 0.02)),
    ("optimizer of the logits", "Adam 0.05", _logits("Adam", 0.05)),
    ("optimizer of the logits", "SGD 0.1", _logits("SGD", 0.1, momentum=0.9)),
    ("optimizer of the logits", "SGD 1", _logits("SGD", 1.0, momentum=0.9)),
    ("optimizer of the logits", "AdamW 0.02, decay 0.5", _logits("AdamW", 0.02, weight_decay=0.5)),
    ("sharpness of the first logits", "0.5", {"initializer": {"sharpness": 0.5}}),
    ("sharpness of the first logits", "2", {"initializer": {"sharpness": 2.0}}),
    ("sharpness of the first logits", "8", {"initializer": {"sharpness": 8.0}}),
    ("sharpness of the first logits", "random logits", {"initializer": {"logits": "random"}}),
    ("scale", "none", {"weights": {"scale": "none"}}),
    ("scale", "per channel, fixed", {"weights": {"scale": "per_channel_fixed"}}),
    ("scale", "per channel, learned", {"weights": {"scale": "per_channel"}}),
    ("values", "uniform", {"weights": {"values": "uniform"}}),
    ("values", "zero-centred", {"weights": {"values": "zero_centered"}}),
    ("values", "ternary", {"weights": {"values": "ternary"}}),
    ("distillation (NNCF)", "scale 0.5", _distilled(0.5)),
    ("distillation (NNCF)", "scale 1", _distilled(1.0)),
    ("distillation (NNCF)", "scale 0.5, mirror, Adam 0.01", _mirror(0.01) | _distilled(0.5)),
    ("batch norm", "calibrated, 10 batches", _params(batchnorm_calibration_batches=10)),
    ("batch norm", "calibrated, 270 batches", _params(batchnorm_calibration_batches=270)),
    ("batch norm", "two states", _params(batchnorm="state", batchnorm_calibration_batches=None)),
)
_NOT_AT_ONE_BIT = ("zero-centred", "ternary")
# At more bits, only what may depend on their number.
_AT_MORE_BITS = (
    "descent", "1/tau, end", "1/tau, update", "optimizer of the logits", "sharpness of the first logits", "scale",
    "values", "distillation (NNCF)",
)  # fmt: skip


def merged(section: dict[str, Any], patch: Patch) -> dict[str, Any]:
    """A section with a patch on top, nested objects merged key by key; None removes a key."""
    result = copy.deepcopy(section)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
            continue
        inner = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if inner else copy.deepcopy(value)
    return result


def variant(protocol: Protocol, bits: int, factor: str, setting: str, patch: Patch, seed: int) -> Job:
    """The run of one setting at some bits (32-bit activations)."""
    shipped = protocol.run_of((bits, 32), seed)
    config = copy.deepcopy(shipped.config)
    patch = dict(patch)
    config["optimizer"] = patch.pop("optimizer", config["optimizer"])
    config["logits_optimizer"] = patch.pop("logits_optimizer", LOGITS_OPTIMIZER)
    distillation = patch.pop("distillation", None)
    config["compression"] = merged(merged(slb_section(config), BASE), patch)
    if distillation:
        config["compression"] = [config["compression"], distillation]
    labels = {"method": factor, "setting": setting, "weights": bits, "activations": 32, "seed": seed}
    folder = "".join(c if c.isalnum() else "-" for c in f"{factor} {setting}")
    return Job(f"ablation/w{bits}/{folder}/seed{seed}", config, shipped.start, None, labels, test=False)


def effective(config: dict[str, Any]) -> Any:
    """A config with the defaults of its slb section filled in, for comparison."""
    from nncf_slb.config.section import parse_slb_config

    parsed = parse_slb_config(slb_section(config))
    params = parsed.params
    section = parsed.model_dump()
    section["params"]["inverse_temperature_end"] = params.effective_inverse_temperature_end
    del section["params"]["end_fraction"]
    section["params"]["epochs"] = params.epoch_range(config["epochs"])
    around = {name: value for name, value in config.items() if name != "compression"}
    return section, around, isinstance(config["compression"], list)


def _belongs(factor: str, setting: str, bits: int) -> bool:
    return setting not in _NOT_AT_ONE_BIT if bits == 1 else factor in _AT_MORE_BITS


def variants(protocol: Protocol, bits: int, seeds: tuple[int, ...]) -> list[Job]:
    """The study's first settings, and all variants that make sense at some bits and differ from them.

    The first settings have all seeds, the others the first one.
    """
    base = [variant(protocol, bits, "base", "", {}, seed) for seed in seeds]
    made = [
        variant(protocol, bits, factor, setting, patch, seeds[0])
        for factor, setting, patch in VARIANTS
        if _belongs(factor, setting, bits)
    ]
    changed = [job for job in made if effective(job.config) != effective(base[0].config)]
    return base + changed
