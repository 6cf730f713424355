"""Plots of docs/results.md, from the files in ``results`` alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only, no window

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.accuracy.results import RESULTS, load

_OURS, _FLOAT, _OTHERS = "tab:blue", "black", "tab:orange"


def draw(network: str, folder: Path) -> None:
    """Write every plot of a network whose figures exist, as ``NETWORK_*.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    makers = {"accuracy": _accuracy, "search": _search, "sensitivity": _sensitivity}
    for name, make in makers.items():
        figure = make(network)
        if figure is not None:
            figure.savefig(folder / f"{network}_{name}.png", dpi=110)
            plt.close(figure)


def _accuracy(network: str) -> Any:
    """Top-1 of every row and every rival, by bits."""
    own, others = load(f"{network}_rows"), load(f"{network}_rivals")
    if own.empty:
        return None
    figure, axis = plt.subplots(figsize=(9, 4.2), layout="constrained")
    floats = own[(own["method"] == "float") & (own["setting"] == "float") & own["test_top1"].notna()]["test_top1"]
    axis.axhline(floats.mean(), color=_FLOAT, lw=1, ls="--", label="float, same extra epochs")
    mine = own[own["method"] == "slb"]
    pairs = list(dict.fromkeys(zip(mine["weights"], mine["activations"], strict=True)))
    _points(axis, mine, pairs, _OURS, "slb: mean and each seed", 0.0)
    tested = others[others["test_top1"].notna()]
    for method, runs in tested.groupby("method"):
        _points(axis, runs, pairs, _OTHERS, None, 0.25)
        for pair, of_pair in runs.groupby(["weights", "activations"]):
            where = pairs.index((pair[0], pair[1])) if tuple(pair) in pairs else None
            if where is not None:
                at = (where + 0.25, of_pair["test_top1"].mean())
                axis.annotate(str(method), at, textcoords="offset points", xytext=(5, -3), fontsize=7, color=_OTHERS)
    axis.set_xticks(range(len(pairs)), [f"W{w}A{a}" for w, a in pairs])
    axis.set_xlim(-0.5, len(pairs) - 0.2)
    axis.set_ylabel("top-1 on the test set, %")
    axis.set_title(f"{network}: weights and activations in few bits (orange: rivals)")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(loc="lower right")
    return figure


def _points(
    axis: Axes, runs: pd.DataFrame, pairs: list[tuple[Any, Any]], color: str, label: str | None, shift: float
) -> None:
    for pair, of_pair in runs.groupby(["weights", "activations"]):
        if tuple(pair) not in pairs:
            continue
        x, values = pairs.index((pair[0], pair[1])) + shift, of_pair["test_top1"].dropna()
        axis.plot([x] * len(values), values, ".", color=color, alpha=0.5, ms=5)
        axis.plot([x], [values.mean()], "_", color=color, ms=14, mew=2, label=label)
        label = None


def _search(network: str) -> Any:
    """What happens during the search: confidence by epoch, and how many weights change their choice."""
    file = RESULTS / f"{network}_search.json"
    if not file.exists():
        return None
    runs: dict[str, list[dict[str, Any]]] = json.loads(file.read_text())
    figure, axes = plt.subplots(1, len(runs) + 1, figsize=(4 * (len(runs) + 1), 3.6), layout="constrained")
    for axis, (name, epochs) in zip(axes, runs.items(), strict=False):
        shares = np.array([epoch["confidence_histogram"] for epoch in epochs])
        image = axis.imshow(
            shares.T * 100, origin="lower", aspect="auto", extent=(0.5, len(epochs) + 0.5, 0, 1), cmap="Blues", vmin=0,
            vmax=60,
        )  # fmt: skip
        axis.set_title(f"{name}: probability of the chosen value")
        axis.set_xlabel("epoch")
        axis.set_ylabel("confidence")
        lowest = 1 / 2 ** int(name[1])
        axis.axhline(lowest, color="gray", lw=0.8, ls=":")
    figure.colorbar(image, ax=axes[: len(runs)], label="% of the weights", shrink=0.8)
    last = axes[-1]
    for name, epochs in runs.items():
        last.plot(range(1, len(epochs) + 1), [100 * epoch["changed"] for epoch in epochs], "o-", ms=4, label=name)
    last.set_yscale("log")
    last.set_title("weights that change their choice")
    last.set_xlabel("epoch")
    last.set_ylabel("% of the weights in the epoch")
    last.grid(alpha=0.3)
    last.legend()
    return figure


def _sensitivity(network: str) -> Any:
    """How far the outputs move when one layer alone is quantized, by layer and bits."""
    file = RESULTS / f"{network}_sensitivity.json"
    if not file.exists():
        return None
    layers: dict[str, dict[str, float]] = json.loads(file.read_text())
    figure, axis = plt.subplots(figsize=(9, 3.8), layout="constrained")
    widths = list(next(iter(layers.values())))
    for k, width in enumerate(widths):
        x = np.arange(len(layers)) + (k - (len(widths) - 1) / 2) * 0.8 / len(widths)
        heights = [layer[width] for layer in layers.values()]
        axis.bar(x, heights, 0.8 / len(widths), label=f"{width} bit{'s' if width != '1' else ''}")
    axis.set_yscale("log")
    axis.set_xticks(range(len(layers)), list(layers), rotation=20, ha="right", fontsize=8)
    axis.set_ylabel("KL divergence of the outputs, nats")
    axis.set_title(f"{network}: one layer quantized at a time, before any training")
    axis.grid(axis="y", alpha=0.3)
    axis.legend()
    return figure
