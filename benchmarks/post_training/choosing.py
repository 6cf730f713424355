"""How the recipe of a search without labels was chosen: one change at a time, by the validation part alone.

    python -m benchmarks.post_training.choosing --work runs/post_training

Small ResNet on Fashion-MNIST, 32-bit inputs, first and last layers in 8 bits, 2,000 images. Variants are compared by
the KL divergence of their classes from the float network's: it tells apart what top-1 of 3,000 images cannot.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils._pytree import tree_map

from benchmarks.documents import write_between_markers
from benchmarks.post_training.networks import Subject
from benchmarks.post_training.report import DOCS
from benchmarks.post_training.runs import SAMPLES, Run, Study
from nncf_slb.hosts.quiet import quieten
from nncf_slb.hosts.torch import task
from nncf_slb.hosts.torch.settings import post_training_config
from nncf_slb.search import reconstruction
from nncf_slb.search.batches import first_of_batch
from nncf_slb.search.batchnorm import calibrate
from nncf_slb.search.reconstruction import Recipe
from nncf_slb.search.unlabeled import Unlabeled, collect
from nncf_slb.tables import markdown_table
from samples.classification.datasets import DATASETS

NETWORK = "small ResNet"
WIDTHS = (4, 3, 2, 1)
FLOAT = "float weights, batch norm calibrated"  # nothing is searched, so all widths are the same
# Fields of `Recipe`, and: the largest share of another image, whether latents are averaged, whose statistics batch norm
# has ("own": of each batch, then calibrated), what is trained at once.
VARIANTS: dict[str, dict[str, Any]] = {
    FLOAT: {},
    "as shipped": {},
    "latents three times as fast": {"latent_rate": 0.18},
    "latents a third as fast": {"latent_rate": 0.02},
    "scales four times as fast": {"scale_rate": 0.02},
    "scales a fifth as fast": {"scale_rate": 0.001},
    "other numbers three times as fast": {"other_rate": 0.003},
    "other numbers a third as fast": {"other_rate": 0.0003},
    "layers count three times as much": {"layer_share": 3.0},
    "layers count a third": {"layer_share": 0.3},
    "outputs alone": {"layer_share": 0.0},
    "temperature of the outputs 1": {"temperature": 1.0},
    "temperature of the outputs 4": {"temperature": 4.0},
    "1/tau to 20": {"inverse_temperature_end": 20.0},
    "1/tau to 200": {"inverse_temperature_end": 200.0},
    "nearest values from 70 % on": {"end": 0.7},
    "nearest values from 95 % on": {"end": 0.95},
    "250 steps": {"steps": 250},
    "500 steps": {"steps": 500},
    "1,000 steps of 200 images": {"batch_size": 200},
    "1,000 steps of 50 images": {"batch_size": 50},
    "2,000 steps of 50 images": {"steps": 2000, "batch_size": 50},
    "no mean of the latents": {"average": "none"},
    "straight-through gradient": {"gradient": "straight"},
    "images mixed by up to half": {"mixed": 0.5},
    "batch norm not matched": {"statistics": "own"},
    "600 steps of 8 images": {"steps": 600, "batch_size": 8},
    "600 steps of 8 images, batch norm not matched": {"steps": 600, "batch_size": 8, "statistics": "own"},
    "block by block, 400 steps each": {"steps": 400, "granularity": "block"},
}


@contextmanager
def _mixed_images(most: float) -> Iterator[None]:
    """Within it, each sample of a batch is mixed with another one; the other's share is uniform up to `most`."""
    shipped = Unlabeled.shuffled

    def shuffled(self: Unlabeled, size: int, numbers: torch.Generator) -> Iterator[Any]:
        for batch in shipped(self, size, numbers):
            yield tree_map(lambda x: _mixed(x, most, numbers) if isinstance(x, torch.Tensor) else x, batch)

    Unlabeled.shuffled = shuffled
    try:
        yield
    finally:
        Unlabeled.shuffled = shipped


@contextmanager
def _own_statistics() -> Iterator[None]:
    """Within it, batch norm has the statistics of each batch, and is calibrated without a look at the float network."""

    def calibrated(searched: torch.nn.Module, _: torch.nn.Module, run: Any, batches: Any) -> int:
        return calibrate(searched, partial(run, searched), batches)

    shipped = reconstruction.matched_batch_norm, task.calibrate_to_target
    reconstruction.matched_batch_norm, task.calibrate_to_target = lambda *_: nullcontext(), calibrated
    try:
        yield
    finally:
        reconstruction.matched_batch_norm, task.calibrate_to_target = shipped


def _mixed(x: torch.Tensor, most: float, numbers: torch.Generator) -> torch.Tensor:
    share = torch.rand(len(x), generator=numbers).mul_(most).view(-1, *[1] * (x.dim() - 1))
    return x + share * (x[torch.randperm(len(x), generator=numbers)] - x)


def run(study: Study, variant: str, bits: int, seed: int) -> Run:
    """One search, scored on the validation part."""
    changes = dict(VARIANTS[variant])
    subject = study.subject(NETWORK, seed, SAMPLES)
    if variant == FLOAT:
        network = copy.deepcopy(subject.model)
        calibrate(network, network, subject.samples[:SAMPLES].split(200))
        return _compared(subject, network)
    config = {"params": {"average": changes.pop("average", "auto")}}
    settings = post_training_config(config, bits, None, None, None)
    mixed, own = changes.pop("mixed", None), changes.pop("statistics", None) == "own"
    granularity = changes.pop("granularity", "network")
    assert changes.keys() <= {field.name for field in fields(Recipe)}
    samples = collect(subject.samples, first_of_batch, SAMPLES + task.HELD_OUT_AT_MOST)
    search = task.Task(subject.model, samples, SAMPLES, settings, Recipe(**changes), granularity, seed,
                       subject.validation)  # fmt: skip
    with nullcontext() if mixed is None else _mixed_images(mixed), _own_statistics() if own else nullcontext():
        found = search.search({}, None, None)
    return _compared(subject, found.model)


def _compared(subject: Subject, network: torch.nn.Module) -> Run:
    return {"top1": subject.validation(network), "top1_float": subject.validation(subject.model),
            "divergence": _divergence(subject.model, network)}  # fmt: skip


@torch.no_grad()
def _divergence(target: torch.nn.Module, searched: torch.nn.Module) -> float:
    """KL divergence of the classes of the validation images from the float network's, nats an image."""
    total, images = 0.0, 0
    for batch, _ in DATASETS["fashion_mnist"](None).loader("val", 1000):
        wanted, given = target(batch).log_softmax(1), searched(batch).log_softmax(1)
        total += float((wanted.exp() * (wanted - given)).sum())
        images += len(batch)
    return total / images


def table(runs: pd.DataFrame) -> str:
    """Divergence of each variant, mean over the seeds, and beside what is shipped."""
    means = 1000 * runs.groupby(["method", "weights"])["divergence"].mean()
    rows = []
    for variant in [name for name in VARIANTS if name in set(runs["method"])]:
        rows.append([variant, *(_beside(means, variant, bits) for bits in WIDTHS)])
    return markdown_table(["change", *(f"W{bits}" for bits in WIDTHS)], rows, "l" + "r" * len(WIDTHS))


def _beside(means: pd.Series, variant: str, bits: int) -> str:
    mean, shipped = (means.get((name, bits), float("nan")) for name in (variant, "as shipped"))
    beside = "" if variant == "as shipped" or isnan(shipped) else f" ({100 * (mean / shipped - 1):+.0f} %)"
    return "" if isnan(mean) else f"{mean:.2f}{beside}"


def main() -> None:
    """Entry point; what is there already is not run again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/post_training"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--widths", nargs="+", type=int, choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    quieten()
    torch.set_num_threads(arguments.threads)
    study = Study(arguments.work / "choosing", arguments.seeds, arguments.work)
    for seed in study.seeds:
        for variant in arguments.variants:
            for bits in arguments.widths:
                labels = {"method": variant, "weights": bits, "seed": seed}
                study.once(
                    f"{variant.replace('/', ' ')}/w{bits}/seed{seed}", labels, partial(run, study, variant, bits, seed)
                )
    runs = pd.DataFrame(study.runs())
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    runs.to_csv(results / "choosing.csv", index=False, float_format="%.4f")
    write_between_markers(DOCS / "post-training.md", "post-training choosing", table(runs))
    print(json.dumps({"runs": len(runs)}))


if __name__ == "__main__":
    main()
