"""How the recipe of a search without labels was chosen: one change at a time, by validation accuracy alone.

    python -m benchmarks.post_training.choosing --work runs/post_training

Small ResNet on Fashion-MNIST, 32-bit inputs, first and last layers in 8 bits, 2,000 images. The gradient of the softmax
itself is not part of `nncf_slb`; it stands here.
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

from benchmarks.documents import write_between_markers
from benchmarks.post_training.report import DOCS
from benchmarks.post_training.runs import SAMPLES, Run, Study
from nncf_slb.hosts.torch import task
from nncf_slb.hosts.torch.settings import post_training_config
from nncf_slb.search.batches import first_of_batch
from nncf_slb.search.expected import given
from nncf_slb.search.reconstruction import Recipe
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState
from nncf_slb.search.unlabeled import collect
from nncf_slb.tables import markdown_table
from samples.training.quiet import quieten

NETWORK = "small ResNet"
WIDTHS = (2, 1)
# Fields of `Recipe`, and: samples of a step, whether the gradient is that of the softmax, whether latents are averaged.
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
    "1,000 steps": {"steps": 1000},
    "1,000 steps of 100 images": {"steps": 1000, "batch": 100},
    "no mean of the latents": {"average": "none"},
    "gradient of the softmax": {"softmax": True},
}


@contextmanager
def _softmax_gradient() -> Iterator[None]:
    """Within it, latents take the gradient of the expected value, not that of a straight line."""
    shipped = SearchState._expected

    def expected(self: SearchState, group: list[SearchableWeight], trained: bool) -> Any:
        if not trained or self.phase.discrete or not torch.is_grad_enabled():
            return shipped(self, group, trained)
        with torch.enable_grad():
            return {weight: partial(given, _expected_weight(weight, self)) for weight in group}

    SearchState._expected = expected
    try:
        yield
    finally:
        SearchState._expected = shipped


def _expected_weight(weight: SearchableWeight, search: SearchState) -> torch.Tensor:
    descent: Any = weight.descent
    table = torch.tensor(descent.table)
    spacing = float(table[1] - table[0])
    distance = ((descent.latent / descent.unit).unsqueeze(-1) - table) / spacing
    probabilities = (-descent.sharpness * search.phase.inverse_temperature * distance.square()).softmax(-1)
    with torch.no_grad():
        if descent.averaging is not None:
            descent.mean.lerp_(descent.latent, descent.averaging.share_of_new(descent.passes))
            descent.passes += 1
    return (probabilities * table).sum(-1) * weight.multiplier()


def run(study: Study, variant: str, bits: int, seed: int) -> Run:
    """One search, scored on the validation part."""
    changes = dict(VARIANTS[variant])
    subject = study.subject(NETWORK, seed, SAMPLES)
    config = {"params": {"average": changes.pop("average", "auto")}}
    settings = post_training_config(config, bits, None, None, None)
    batch, true = changes.pop("batch", None), changes.pop("softmax", False)
    assert changes.keys() <= {field.name for field in fields(Recipe)}
    samples = collect(subject.samples, first_of_batch, SAMPLES + task.HELD_OUT_AT_MOST)
    search = task.Task(subject.model, samples, SAMPLES, settings, Recipe(**changes), seed, subject.validation)
    search.batch = batch or search.batch
    with _softmax_gradient() if true else nullcontext():
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
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    quieten()
    torch.set_num_threads(arguments.threads)
    study = Study(arguments.work / "choosing", arguments.seeds, arguments.work)
    for seed in study.seeds:
        for variant in VARIANTS:
            for bits in WIDTHS:
                labels = {"method": variant, "weights": bits, "seed": seed}
                study.once(
                    f"{variant.replace('/', ' ')}/w{bits}/seed{seed}", labels, partial(run, study, variant, bits, seed)
                )
    runs = pd.DataFrame(study.runs())
    results = Path(__file__).parent / "results"
    runs.to_csv(results / "choosing.csv", index=False, float_format="%.4f")
    write_between_markers(DOCS / "post-training.md", "post-training choosing", table(runs))
    print(json.dumps({"runs": len(runs)}))


if __name__ == "__main__":
    main()
