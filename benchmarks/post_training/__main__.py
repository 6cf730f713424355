"""Searches without labels: five networks, pairs of bits, three seeds, beside rounding and NNCF's own 8 bits.

    python -m benchmarks.post_training --work runs/post_training searches images blocks rivals report
    .venv-rivals/bin/python -m benchmarks.post_training.brevitas_rounding --work runs/post_training

Every run is written as it ends, and the same command goes on after an interruption. The test part is used once, by the
settings that ship.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import nncf_slb
from benchmarks.post_training import report, rivals
from benchmarks.post_training.networks import NETWORKS, Subject
from benchmarks.post_training.runs import SAMPLES, Run, Study
from nncf_slb.hosts.quiet import quieten

PAIRS = ((4, 32), (3, 32), (2, 32), (1, 32), (4, 8), (3, 8), (2, 8), (1, 8))
_FEWER = ((4, 32), (4, 8), (3, 8), (2, 8), (1, 8))
# The transformer's inputs stay in full precision: so does what lies between its layers.
PAIRS_OF = {
    "ResNet-20": _FEWER, "ESPCN x2": _FEWER, "CREPE tiny": _FEWER,
    "vision transformer": ((4, 32), (3, 32), (2, 32), (1, 32)),
}  # fmt: skip
# Steps and their samples: what ships, and less of both for networks with more to compute.
LONG, SHORT, SHORTEST = ({"steps": s, "batch_size": b} for s, b in ((1000, 100), (500, 100), (300, 50)))
SETTINGS_OF = {"ResNet-20": SHORT, "vision transformer": SHORT, "CREPE tiny": SHORTEST}
BLOCKS = {"steps": 400, "batch_size": 100, "granularity": "block"}
COUNTS = (100, 500, 2000, 10000)
RESULTS = Path(__file__).parent / "results"


def search(subject: Subject, weights: int, activations: int, count: int, seed: int, settings: dict[str, Any]) -> Run:
    """One search, scored on the test part."""
    started = time.perf_counter()
    seconds: list[float] = []
    found = nncf_slb.search_post_training(
        subject.model, subject.samples[: count + 500], bits=weights, activations=activations, num_samples=count,
        seed=seed, score=subject.test, progress=lambda _: seconds.append(time.perf_counter() - started), **settings,
    )  # fmt: skip
    scores = {row.name: row.score for row in found.rows}
    agreement = {row.name: row.agreement.value for row in found.rows if row.agreement is not None}
    return {**scores, "agreement": agreement["searched"], "seconds": seconds[-1], "threads": torch.get_num_threads(),
            **settings}  # fmt: skip


def _searched(study: Study, network: str, weights: int, activations: int, count: int, seed: int) -> Run:
    subject = study.subject(network, seed, count)
    return search(subject, weights, activations, count, seed, SETTINGS_OF.get(network, LONG))


def searches(study: Study, networks: list[str]) -> None:
    """The table."""
    for network in networks:
        for seed in study.seeds:
            for weights, activations in PAIRS_OF.get(network, PAIRS):
                labels = {"network": network, "seed": seed, "weights": weights, "activations": activations,
                          "samples": SAMPLES, "method": "search"}  # fmt: skip
                of_this = partial(_searched, study, network, weights, activations, SAMPLES, seed)
                study.once(f"{network}/w{weights}a{activations}/seed{seed}", labels, of_this)


def images(study: Study, networks: list[str]) -> None:
    """Accuracy over the number of images, small ResNet."""
    network = "small ResNet"
    for count in COUNTS:
        for seed in study.seeds:
            for weights in (2, 1):
                labels = {"network": network, "seed": seed, "weights": weights, "activations": 32, "samples": count,
                          "method": "images"}  # fmt: skip
                of_this = partial(_searched, study, network, weights, 32, count, seed)
                study.once(f"images/{count}/w{weights}/seed{seed}", labels, of_this)


def blocks(study: Study, networks: list[str]) -> None:
    """Block by block beside the whole network at once, small ResNet."""
    network = "small ResNet"
    for seed in study.seeds:
        for weights in (2, 1):
            labels = {"network": network, "seed": seed, "weights": weights, "activations": 32, "samples": SAMPLES,
                      "method": "blocks"}  # fmt: skip
            study.once(f"blocks/w{weights}/seed{seed}", labels, partial(_by_blocks, study, network, weights, seed))


def _by_blocks(study: Study, network: str, weights: int, seed: int) -> Run:
    return search(study.subject(network, seed, SAMPLES), weights, 32, SAMPLES, seed, BLOCKS)


def other_methods(study: Study, networks: list[str]) -> None:
    """NNCF's own post-training quantization in 8 bits, on the same samples."""
    for network in networks:
        for seed in study.seeds:
            labels = {"network": network, "seed": seed, "weights": 8, "activations": 8, "samples": 300,
                      "method": "NNCF 8-bit"}  # fmt: skip
            study.once(f"{network}/nncf/seed{seed}", labels, partial(_nncf, study, network, seed))


def _nncf(study: Study, network: str, seed: int) -> Run:
    return rivals.nncf_eight_bits(study.subject(network, seed, SAMPLES))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", choices=["searches", "images", "blocks", "rivals", "report"])
    parser.add_argument("--work", type=Path, default=Path("runs/post_training"), help="folder of all runs")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the samples and their order")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    quieten()
    torch.set_num_threads(arguments.threads)
    study = Study(arguments.work, arguments.seeds)
    tables = {"searches": searches, "images": images, "blocks": blocks, "rivals": other_methods}
    for table in arguments.tables:
        if table != "report":
            tables[table](study, arguments.networks)
    frame = pd.DataFrame(study.runs())
    if not frame.empty:
        frame.to_csv(RESULTS / "runs.csv", index=False, float_format="%.4f")
    if "report" in arguments.tables:
        report.write(RESULTS / "runs.csv")


if __name__ == "__main__":
    main()
