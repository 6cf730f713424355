"""Brevitas' learned rounding and GPTQ on the samples of a search; runs in the rivals' environment.

    .venv-rivals/bin/python -m benchmarks.post_training.brevitas_rounding --work runs/post_training

First and last layers have 8 bits, all others 4, 3 or 2, with a scale a channel of least squared error; inputs stay in
32 bits. Batch norm is calibrated afterwards, as for every method. Of each method's settings the one that is best in
validation is scored on the test part.
"""

from __future__ import annotations

import argparse
import copy
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.graph.gptq import gptq_mode
from brevitas.graph.quantize import layerwise_quantize
from brevitas.quant.scaled_int import Int8WeightPerChannelFloatMSE
from brevitas_examples.imagenet_classification.ptq.learned_round_utils import apply_learned_round
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.post_training.networks import NETWORKS, Subject
from benchmarks.post_training.runs import SAMPLES, Run, Study
from nncf_slb.hosts.dataflow import observe
from nncf_slb.hosts.quiet import quieten
from nncf_slb.search.batchnorm import calibrate

WIDTHS = (4, 3, 2)
GPTQ, LEARNED = "Brevitas, GPTQ", "Brevitas, learned rounding"
_LAYERS = {
    nn.Conv1d: qnn.QuantConv1d, nn.Conv2d: qnn.QuantConv2d, nn.Linear: qnn.QuantLinear,
    nn.ConvTranspose2d: qnn.QuantConvTranspose2d,
}  # fmt: skip
# Settings that a method may choose from, by validation.
_ROUNDINGS = [
    {"learned_round": kind, "learned_round_loss": loss, "learned_round_lr": rate, "learned_round_iters": 1000}
    for kind, loss, rate in (
        ("hard_sigmoid", "regularised_mse", 1e-2),
        ("hard_sigmoid", "regularised_mse", 1e-3),
        ("identity", "mse", 5e-3),
    )
]
_GPTQ: list[dict[str, Any]] = [{"act_order": False}, {"act_order": True}]


def _quantized(subject: Subject, bits: int) -> nn.Module:
    """The network with weights rounded to the nearest values."""
    model = copy.deepcopy(subject.model)
    layers = observe(model, lambda: model(subject.samples[:1])).layers
    edges = [layer.path for layer in layers if layer.is_first or layer.is_last]
    inner = [layer.path for layer in layers if layer.path not in edges]
    for width, others in ((bits, edges), (8, inner)):

        class Weights(Int8WeightPerChannelFloatMSE):
            bit_width = width

        settings = {"weight_quant": Weights, "input_quant": None, "bias_quant": None, "return_quant_tensor": False}
        model = layerwise_quantize(model, {plain: (kind, settings) for plain, kind in _LAYERS.items()}, others)
    model.eval()
    with torch.no_grad():
        model(subject.samples[:2])  # which makes the weights' scales
    return model


def _rounded(subject: Subject, bits: int, settings: dict[str, Any]) -> nn.Module:
    """Learned rounding, layer by layer."""
    model = _quantized(subject, bits)
    data = DataLoader(TensorDataset(subject.samples[:SAMPLES], torch.zeros(SAMPLES)), batch_size=100)
    rest = {"learned_round_lr_scheduler": "LinearLR", "learned_round_batch_size": 32, "learned_round_mode": "layerwise"}
    apply_learned_round(model, data, Namespace(**settings, **rest))
    return model


@torch.no_grad()
def _gptq(subject: Subject, bits: int, settings: dict[str, Any]) -> nn.Module:
    model = _quantized(subject, bits)
    with gptq_mode(model, use_quant_activations=False, create_weight_orig=False, **settings) as mode:
        for _ in range(mode.num_layers):
            for images in subject.samples[:SAMPLES].split(100):
                mode.model(images)
            mode.update()
    return model


def _best(subject: Subject, make: Callable[..., nn.Module], bits: int, choices: list[dict[str, Any]]) -> Run:
    best: tuple[float, nn.Module, dict[str, Any]] | None = None
    started = time.perf_counter()
    for settings in choices:
        model = make(subject, bits, settings).eval()
        calibrate(model, model, subject.samples[:SAMPLES].split(200))
        score = subject.validation(model)
        if best is None or score > best[0]:
            best = score, model, settings
    assert best is not None
    seconds = (time.perf_counter() - started) / len(choices)
    return {"float": subject.test(subject.model), "searched": subject.test(best[1]), "seconds": seconds,
            "setting": str(best[2])}  # fmt: skip


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/post_training"))
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=[GPTQ, LEARNED], default=[GPTQ, LEARNED])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    quieten()
    torch.set_num_threads(arguments.threads)
    study = Study(arguments.work, arguments.seeds)
    methods = {GPTQ: (_gptq, _GPTQ), LEARNED: (_rounded, _ROUNDINGS)}
    for network in arguments.networks:
        for seed in study.seeds:
            for bits in WIDTHS:
                for name in arguments.methods:
                    make, choices = methods[name]
                    labels = {"network": network, "seed": seed, "weights": bits, "activations": 32,
                              "samples": SAMPLES, "method": name}  # fmt: skip
                    of_this = partial(_run, study, network, seed, make, bits, choices)
                    study.once(f"{network}/{name}/w{bits}/seed{seed}", labels, of_this)


def _run(study: Study, network: str, seed: int, make: Any, bits: int, choices: list[dict[str, Any]]) -> Run:
    return _best(study.subject(network, seed, SAMPLES), make, bits, choices)


if __name__ == "__main__":
    main()
