"""Step time by host: the same network, data and optimizer through every host that an environment has.

    python -m benchmarks.training.hosts     in each environment (.venv, .venv-nncf3); leave the machine alone meanwhile

Hosts and float take turns in one process. Rows of the hosts that an environment has replace those of before in
`benchmarks/training/results/hosts.csv`; ``python -m benchmarks.training report`` writes docs/performance.md.
"""

from __future__ import annotations

import copy
import csv
import statistics
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import nn

import nncf_slb
from nncf_slb.files import new_file
from nncf_slb.hosts.installed import has_builders, has_function_hooks
from nncf_slb.openvino.ir import device_name
from samples.classification.datasets.arrays import ArrayBatches, random_flip
from samples.classification.models import MODELS
from samples.classification.recipes import RECIPES
from samples.training.hosts import for_host

FILE = Path(__file__).resolve().parent / "results" / "hosts.csv"
NETWORKS = {"small ResNet": ("small_resnet_fashion_mnist", 200, 8), "ResNet-20": ("resnet20_cifar10", 128, 2)}
BITS, ROUNDS = (1, 2, 4), 15


def _hosts() -> list[str]:
    return [*(["nncf2"] if has_builders() else []), *(["nncf3"] if has_function_hooks() else []), "torch"]


class _Loop:
    """A training loop; `bits` of 0 is float."""

    def __init__(self, recipe: str, batch: int, host: str, bits: int) -> None:
        config = copy.deepcopy(RECIPES[f"{recipe}_{f'w{bits}a32' if bits else 'float'}"])
        torch.manual_seed(0)
        _, *shape = config["input_info"]["sample_size"]
        images, labels = torch.randn(2 * batch, *shape), torch.randint(0, config["num_classes"], (2 * batch,))
        self._batches = ArrayBatches(images, labels, batch, shuffle=True, augment=random_flip)
        self._model: nn.Module = MODELS[config["model"]](num_classes=config["num_classes"], **config["model_params"])
        self._model.to(memory_format=torch.channels_last)
        self._ctrl: Any = None
        if bits:
            config["compression"].setdefault("params", {}).update(steps_per_epoch=100, epochs=5)
            config["compression"]["openvino"] = {"dry_export": False}
            self._ctrl, self._model = nncf_slb.create_compressed_model(
                self._model, for_host(config, host), self._batches, host=host
            )
            self._ctrl.scheduler.epoch_step()
        self._optimizer = torch.optim.Adam([p for p in self._model.parameters() if p.requires_grad], 1e-3)
        self._model.train()
        self._stream = iter(())

    def step(self) -> None:
        batch = next(self._stream, None)
        if batch is None:
            self._stream = iter(self._batches)
            batch = next(self._stream)
        if self._ctrl:
            self._ctrl.scheduler.step()
        loss = nn.functional.cross_entropy(self._model(batch[0]), batch[1])
        if self._ctrl:
            loss = loss + self._ctrl.loss()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        float(loss.detach())


def measure() -> list[dict[str, Any]]:
    """Ratio of each host's step to float's in the same round, median and range of the middle 80 %."""
    rows = []
    for name, (recipe, batch, steps) in NETWORKS.items():
        loops = {(host, bits): _Loop(recipe, batch, host, bits) for host in _hosts() for bits in BITS}
        loops["float", 0] = _Loop(recipe, batch, "float", 0)
        times: dict[tuple[str, int], list[float]] = {key: [] for key in loops}
        for turn in range(ROUNDS + 1):
            for key, loop in loops.items():
                started = time.perf_counter()
                for _ in range(steps):
                    loop.step()
                if turn:  # the first one warms up
                    times[key].append((time.perf_counter() - started) / steps)
        for (host, bits), own in times.items():
            if bits:
                ratios = sorted(a / b for a, b in zip(own, times["float", 0], strict=True))
                tenth = len(ratios) // 10
                rows.append({
                    "date": str(date.today()), "machine": device_name("CPU"), "threads": torch.get_num_threads(),
                    "network": name, "batch": batch, "host": host, "bits": bits,
                    "ratio": round(statistics.median(ratios), 3), "low": round(ratios[tenth], 3),
                    "high": round(ratios[-1 - tenth], 3), "rounds": ROUNDS,
                })  # fmt: skip
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Entry point."""
    rows = measure()
    measured = {row["host"] for row in rows}
    before = list(csv.DictReader(FILE.open())) if FILE.exists() else []
    rows = [row for row in before if row["host"] not in measured] + rows
    with new_file(FILE) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
