"""How a search settles: variants of the weight's scale, of the mean and of the end, by validation accuracy alone.

    python -m benchmarks.accuracy.settling --work runs/accuracy     hours on 2 cores; continues after an interruption

The variants that did not help are not part of `nncf_slb`, so all of them run here in plain PyTorch: the inner
convolutions of the small ResNet on Fashion-MNIST, from the float networks of the study (`Protocol.float_start`), with
Adam at 0.01 for 8 epochs, or at 0.003 for 2. Every run keeps means over several windows and measures each. The CSV file
is `results/small_resnet_fashion_mnist_settling.csv`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.accuracy.protocol import Protocol
from benchmarks.accuracy.report import DOCS
from benchmarks.accuracy.results import RESULTS, markdown
from benchmarks.documents import write_between_markers
from nncf_slb.files import new_file
from nncf_slb.search.batchnorm import calibrate
from nncf_slb.search.latent import expected_entry, nearest_entry
from nncf_slb.search.scale import fit_scale
from nncf_slb.search.values import make_values
from samples.classification.datasets import DATASETS
from samples.classification.models import MODELS

PARTS = (2, 4, 8, 16)  # a mean is over the last of so many parts of the steps so far
LAST = "last"  # in place of a mean: the latents of the last step
_FILE = RESULTS / "small_resnet_fashion_mnist_settling.csv"
_END = 0.85  # share of the steps until 1/tau has reached its end
_BATCH, _CALIBRATION = 200, 20
_FLIP_RATE = 0.02  # above which a weight is frozen: changes of its nearest value in a step


@dataclass(frozen=True)
class Variant:
    """What differs from a learned scale with 1/tau kept at its end.

    Attributes:
        name: In the table.
        tracked: Scale of least squares of each channel, renewed after each step.
        follows: With `tracked`, the distance between values follows the scale.
        separable: Magnitudes ``m[i] k[y, x]`` besides the scale, learned.
        straight: Nearest values behind the end of 1/tau, with gradients straight through.
        dampens: Adds the mean squared distance from the nearest values to the loss, more and more in the last third.
        freezes: Weights that flip often stay at their mean from the middle on.
        learns_values: An offset for each value, for each layer.
        parq: The piecewise affine map of PARQ in place of the softmax.
    """

    name: str
    tracked: bool = False
    follows: bool = False
    separable: bool = False
    straight: bool = False
    dampens: bool = False
    freezes: bool = False
    learns_values: bool = False
    parq: bool = False


VARIANTS = (
    (Variant("learned scale"), (1, 2, 4), (0, 1, 2)),
    (Variant("learned scale, straight through at the end", straight=True), (1, 2, 4), (0, 1, 2)),
    (Variant("tracked scale", tracked=True), (1, 2, 4), (0, 1, 2)),
    (Variant("tracked scale, values follow it", tracked=True, follows=True), (1,), (0, 1, 2)),
    (Variant("tracked scale, separable magnitudes", tracked=True, separable=True), (1,), (0, 1, 2)),
    (Variant("straight through, dampening", straight=True, dampens=True), (1, 2, 4), (0,)),
    (Variant("straight through, freezing", straight=True, freezes=True), (1, 2, 4), (0,)),
    (Variant("straight through, learned values", straight=True, learns_values=True), (2, 4), (0,)),
    (Variant("straight through, PARQ", straight=True, parq=True), (1, 2, 4), (0,)),
)
SHORT = VARIANTS[:2]  # with 2 epochs as well


class Layer(nn.Module):
    """A convolution whose weight is searched."""

    def __init__(self, layer: nn.Conv2d, bits: int, variant: Variant) -> None:
        super().__init__()
        self.layer, self.variant = layer, variant
        values = make_values("uniform", bits)
        self.table, self.entries = values.table, torch.tensor(values.table)
        weight = layer.weight.detach()
        scale = fit_scale(weight.flatten(1), self.entries * values.step) * values.step
        self.unit = scale.view(-1, 1, 1, 1).clone()
        bounded = (weight / self.unit).clamp(self.table[0], self.table[-1]) * self.unit
        self.latent = nn.Parameter(bounded)
        del layer.weight
        self.scale: Tensor = scale if variant.tracked else nn.Parameter(scale)
        if variant.separable:
            self.of_inputs = nn.Parameter(torch.ones(1, weight.shape[1], 1, 1))
            self.of_places = nn.Parameter(torch.ones(1, 1, *weight.shape[2:]))
        self.offsets = nn.Parameter(torch.zeros(len(self.table))) if variant.learns_values else None
        self.means = {parts: bounded.clone() for parts in PARTS}
        self.fixed: Tensor | None = None  # latents to evaluate with
        self.flips, self.frozen = torch.zeros_like(weight), torch.zeros_like(weight, dtype=torch.bool)
        self.nearest_before = self.nearest(bounded)

    def nearest(self, latent: Tensor) -> Tensor:
        """Nearest entries of the table."""
        return nearest_entry(latent / self.unit, self.table)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution with the weight of this moment."""
        return self.layer._conv_forward(x, self.weight(), None)

    def weight(self) -> Tensor:
        """Expected entry, or the nearest one, times magnitudes."""
        if self.fixed is not None:
            return self._offset(self.nearest(self.fixed)) * self.magnitudes()
        position, sharpness = self.latent / self.unit, Moment.sharpness
        with torch.no_grad():
            if math.isinf(sharpness):
                entry = nearest_entry(position, self.table)
            elif self.variant.parq:
                entry = _parq(position, self.table, sharpness / 2)
            else:
                entry = expected_entry(position, self.table, sharpness)
        return (self._offset(entry) + (position - position.detach())) * self.magnitudes()

    def _offset(self, entry: Tensor) -> Tensor:
        if self.offsets is None:
            return entry
        spacing = self.table[1] - self.table[0]
        return entry + self.offsets[((entry - self.table[0]) / spacing).round().long()]

    def magnitudes(self) -> Tensor:
        """Broadcastable to the weight."""
        scale = self.scale.view(-1, 1, 1, 1)
        return scale * self.of_inputs * self.of_places if self.variant.separable else scale

    @torch.no_grad()
    def track(self, latent: Tensor) -> None:
        """Scale of least squares."""
        entry = self.nearest(latent)
        if self.variant.separable:
            entry = entry * self.of_inputs * self.of_places
        fitted = (latent * entry).flatten(1).sum(1) / entry.square().flatten(1).sum(1).clamp_min(1e-12)
        self.scale = fitted.clamp_min(1e-8)
        if self.variant.follows:
            self.unit = self.scale.view(-1, 1, 1, 1).clone()


class Moment:
    """The time of the one training that runs."""

    sharpness = 2.0


def _parq(position: Tensor, table: tuple[float, ...], inverse_temperature: float) -> Tensor:
    """Flat near each value and steep between two, by as much as 1/tau has grown."""
    spacing = table[1] - table[0]
    nearest = nearest_entry(position, table)
    apart, width = (position - nearest) / spacing, 1 / inverse_temperature
    moved = apart.sign() * ((apart.abs() - (1 - width) / 2).clamp_min(0) / width).clamp_max(0.5)
    return (nearest + moved * spacing).clamp(table[0], table[-1])


def train(variant: Variant, bits: int, seed: int, epochs: int, rate: float, start: Path) -> dict[str, Any]:
    """One run; returns validation accuracy in per cent and loss for the last latents and each mean."""
    torch.manual_seed(seed)
    splits = DATASETS["fashion_mnist"](None)
    batches = splits.loader("train", _BATCH, seed=seed)
    network = MODELS["small_resnet"](num_classes=10)
    network.load_state_dict(torch.load(start, weights_only=True)["model"])
    network = network.to(memory_format=torch.channels_last)
    layers = list(_insert(network, bits, variant))
    optimizer = torch.optim.Adam(network.parameters(), rate)
    total = epochs * len(batches)
    end, top = int(total * _END), 100.0 if bits == 1 else 20.0
    step = 0
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        for images, labels in batches:
            network.train()
            Moment.sharpness = 2 * top ** min(step / end, 1.0) if step < end or not variant.straight else math.inf
            loss = functional.cross_entropy(network(images), labels)
            if variant.dampens:
                loss = loss + max(0.0, 3 * step / end - 2) * _distance(layers)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for layer in layers if variant.freezes else ():
                layer.latent.grad.masked_fill_(layer.frozen, 0)
            optimizer.step()
            _follow(layers, step, step > end / 2)
            step += 1
    return _measure(network, layers, batches, splits.loader("val", 1000))


def _insert(network: nn.Module, bits: int, variant: Variant) -> Iterator[Layer]:
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d) and name != "stem":
            parent, _, attribute = name.rpartition(".")
            layer = Layer(module, bits, variant)
            setattr(network.get_submodule(parent), attribute, layer)
            yield layer


def _distance(layers: list[Layer]) -> Tensor:
    """Mean squared distance of all latents from the nearest entries, in units of the table."""
    squares = [(layer.latent / layer.unit - layer.nearest(layer.latent.detach())).square().sum() for layer in layers]
    return torch.stack(squares).sum() / sum(layer.latent.numel() for layer in layers)


@torch.no_grad()
def _follow(layers: list[Layer], step: int, may_freeze: bool) -> None:
    """What comes after a step: scale, means, frozen weights."""
    for layer in layers:
        if layer.variant.tracked:
            layer.track(layer.latent)
        for parts, mean in layer.means.items():
            mean.lerp_(layer.latent, min(1.0, parts / (step + parts)))
        if layer.variant.freezes:
            nearest = layer.nearest(layer.latent)
            layer.flips.lerp_((nearest != layer.nearest_before).float(), 0.01)
            layer.nearest_before = nearest
            new = (layer.flips > _FLIP_RATE) & ~layer.frozen
            if may_freeze:
                layer.latent[new] = layer.means[PARTS[-1]][new]
                layer.frozen |= new


def _measure(network: nn.Module, layers: list[Layer], batches: Any, validation: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in (LAST, *PARTS):
        for layer in layers:
            layer.fixed = layer.latent.detach() if kind == LAST else layer.means[kind]
            if layer.variant.tracked:
                layer.track(layer.fixed)
        calibrate(network, lambda batch: network(batch[0]), islice(batches, _CALIBRATION))
        network.eval()
        with torch.no_grad():
            outputs, labels = zip(*((network(images), labels) for images, labels in validation), strict=True)
        logits, answers = torch.cat(outputs), torch.cat(labels)
        found[f"{kind} top1"] = float((logits.argmax(1) == answers).double().mean() * 100)
        found[f"{kind} loss"] = float(functional.cross_entropy(logits, answers))
    return found


def table(runs: pd.DataFrame) -> str:
    """Mean validation accuracy and loss of each variant, for the latents of the last step and for each mean."""
    means = [f"mean of the last 1/{parts}" for parts in PARTS]
    header = ["epochs", "bits", "variant", "seeds", "latents of the last step", *means]
    lines = []
    for (epochs, bits, name), alike in runs.groupby(["epochs", "bits", "variant"], sort=False):
        cells = [f"{alike[f'{k} top1'].mean():.2f} / {alike[f'{k} loss'].mean():.4f}" for k in (LAST, *PARTS)]
        lines.append([str(epochs), str(bits), str(name), str(len(alike)), *cells])
    return markdown(header, lines)


def main() -> None:
    """Run what the CSV file lacks, and write the table of docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/accuracy"), help="folder of the study's float networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    protocol = Protocol()
    rows = pd.read_csv(_FILE).to_dict("records") if _FILE.exists() else []
    for epochs, rate, variants in ((8, 0.01, VARIANTS), (2, 0.003, SHORT)):
        for variant, widths, seeds in variants:
            for bits in widths:
                for seed in seeds:
                    key = {"epochs": epochs, "bits": bits, "variant": variant.name, "seed": seed}
                    if any(key.items() <= row.items() for row in rows):
                        continue
                    start = arguments.work / protocol.key / protocol.float_start("w2a32", seed).name / "last.pth"
                    rows.append(key | train(variant, bits, seed, epochs, rate, start))
                    with new_file(_FILE) as partial:
                        pd.DataFrame(rows).to_csv(partial, index=False, float_format="%.6g")
                    print(rows[-1], flush=True)
    write_between_markers(DOCS / "results.md", "settling", table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
