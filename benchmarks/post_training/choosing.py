"""How the recipe of a search without labels was chosen: one change at a time, by validation accuracy alone.

    python -m benchmarks.post_training.choosing --work runs/post_training

Small ResNet on Fashion-MNIST, 32-bit inputs, first and last layers in 8 bits, 2,000 images.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils._pytree import tree_map

from benchmarks.documents import write_between_markers
from benchmarks.post_training.report import DOCS
from benchmarks.post_training.runs import SAMPLES, Run, Study
from nncf_slb.hosts.quiet import quieten
from nncf_slb.hosts.torch import task
from nncf_slb.hosts.torch.settings import post_training_config
from nncf_slb.search.batches import first_of_batch
from nncf_slb.search.reconstruction import Recipe
from nncf_slb.search.unlabeled import Unlabeled, collect
from nncf_slb.tables import markdown_table

NETWORK = "small ResNet"
WIDTHS = (2, 1)
# Fields of `Recipe`, and: samples of a step, the largest share of another image, whether latents are averaged.
VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "latents twice as fast": {"latent_rate": 0.12},
    "latents half as fast": {"latent_rate": 0.03},
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
    "1,000 steps of 100 images": {"batch": 100},
    "2,000 steps of 50 images": {"steps": 2000, "batch": 50},
    "no mean of the latents": {"average": "none"},
    "straight-through gradient": {"gradient": "straight"},
    "images mixed by up to half": {"mixed": 0.5},
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


def _mixed(x: torch.Tensor, most: float, numbers: torch.Generator) -> torch.Tensor:
    share = torch.rand(len(x), generator=numbers).mul_(most).view(-1, *[1] * (x.dim() - 1))
    return x + share * (x[torch.randperm(len(x), generator=numbers)] - x)


def run(study: Study, variant: str, bits: int, seed: int) -> Run:
    """One search, scored on the validation part."""
    changes = dict(VARIANTS[variant])
    subject = study.subject(NETWORK, seed, SAMPLES)
    config = {"params": {"average": changes.pop("average", "auto")}}
    settings = post_training_config(config, bits, None, None, None)
    batch, mixed = changes.pop("batch", None), changes.pop("mixed", None)
    assert changes.keys() <= {field.name for field in fields(Recipe)}
    samples = collect(subject.samples, first_of_batch, SAMPLES + task.HELD_OUT_AT_MOST)
    search = task.Task(subject.model, samples, SAMPLES, settings, Recipe(**changes), "network", seed,
                       subject.validation)  # fmt: skip
    search.batch = batch or search.batch
    with nullcontext() if mixed is None else _mixed_images(mixed):
        found = search.search({}, None, None)
    return {"float": search.measurement.float_row().score, "nearest": found.nearest.score,
            "searched": found.searched.score}  # fmt: skip


def table(runs: pd.DataFrame) -> str:
    """Mean over the seeds of each variant, and the difference to what is shipped."""
    header = ["change", *(text for bits in WIDTHS for text in (f"W{bits}: top-1 %", "difference"))]
    means = runs.groupby(["method", "weights"])["searched"].mean()
    rows = []
    for variant in [name for name in VARIANTS if name in set(runs["method"])]:
        cells = []
        for bits in WIDTHS:
            mean = means.get((variant, bits), float("nan"))
            cells += [f"{mean:.2f}", "" if variant == "as shipped" else f"{mean - means['as shipped', bits]:+.2f}"]
        rows.append([variant, *cells])
    return markdown_table(header, rows, "l" + "r" * (len(header) - 1))


def main() -> None:
    """Entry point; what is there already is not run again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/post_training"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    quieten()
    torch.set_num_threads(arguments.threads)
    study = Study(arguments.work / "choosing", arguments.seeds, arguments.work)
    for seed in study.seeds:
        for variant in arguments.variants:
            for bits in WIDTHS:
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
