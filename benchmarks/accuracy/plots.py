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
from matplotlib.colors import LogNorm
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from benchmarks.accuracy.protocol import DISTILLED
from benchmarks.accuracy.results import RESULTS, chosen_runs, load

_COLORS = {"slb": "tab:blue", DISTILLED: "tab:green"}
_OTHERS = "tab:orange"


def draw(key: str, folder: Path) -> None:
    """Write every plot of a study whose figures exist, as ``KEY_*.png``; `key` is `Protocol.key`."""
    folder.mkdir(parents=True, exist_ok=True)
    makers = {"accuracy": _accuracy, "search": _search, "sensitivity": _sensitivity}
    for name, make in makers.items():
        figure = make(key)
        if figure is not None:
            figure.savefig(folder / f"{key}_{name}.png", dpi=110)
            plt.close(figure)


def _accuracy(key: str) -> Any:
    """Left: top-1 of every row. Right, where rivals ran: each of them at the same bits as `slb`."""
    own, others = load(f"{key}_rows"), load(f"{key}_rivals")
    if own.empty:
        return None
    both = load(f"{key}_rows", f"{key}_distilled")
    mine = both[both["method"] != "float"]
    ratios = (1.3,) if others.empty else (1.3, 1)
    figure, axes = plt.subplots(
        1, len(ratios), figsize=(5.2 * sum(ratios), 4.6), layout="constrained", width_ratios=ratios, squeeze=False
    )
    left = axes[0, 0]
    pairs = list(dict.fromkeys(zip(mine["weights"], mine["activations"], strict=True)))
    for x, pair in enumerate(pairs):
        for method, runs in _searches(both, pair).items():
            _mean_and_runs(left, [x] * len(runs), runs["test_top1"], _COLORS[method], "_")
    left.set_xticks(range(len(pairs)), [f"W{w}A{a}" for w, a in pairs], fontsize=8)
    left.set_ylabel("top-1 on the test set, %")
    left.set_title(f"{key.replace('_', ' ')}: mean and each seed")
    shown = {name: color for name, color in _COLORS.items() if (mine["method"] == name).any()}
    left.legend(handles=[Patch(color=color, label=name) for name, color in shown.items()], loc="lower right")
    floats = own[(own["method"] == "float") & (own["setting"] == "float") & own["test_top1"].notna()]["test_top1"]
    left.axhline(floats.mean(), color="black", lw=1, ls="--")
    left.annotate("float, same extra epochs", (0, floats.mean()), xytext=(0, 4), textcoords="offset points", fontsize=8)
    if not others.empty:
        axes[0, 1].axvline(floats.mean(), color="black", lw=1, ls="--")
        _rivals(axes[0, 1], both, others[others["test_top1"].notna()])
    for axis in axes[0]:
        axis.grid(alpha=0.3)
    return figure


def _rivals(axis: Axes, mine: pd.DataFrame, others: pd.DataFrame) -> None:
    names, y = [], 0.0
    for pair in dict.fromkeys(zip(others["weights"], others["activations"], strict=True)):
        groups = [*_searches(mine, pair).items(), *_of(others, pair).groupby("method")]
        for method, runs in sorted(groups, key=lambda group: group[1]["test_top1"].mean()):
            _mean_and_runs(axis, runs["test_top1"], [y] * len(runs), _COLORS.get(method, _OTHERS), "|")
            names.append((y, f"W{pair[0]}A{pair[1]} {method}"))
            y += 1
        y += 0.7
    axis.set_yticks([at for at, _ in names], [name for _, name in names], fontsize=8)
    axis.set_xlabel("top-1 on the test set, %")
    axis.set_title("rivals (orange) at the same bits, best above")


def _searches(runs: pd.DataFrame, pair: tuple[Any, Any]) -> dict[str, pd.DataFrame]:
    """Runs of `slb`, with the optimizer that was chosen, by method."""
    found = {method: chosen_runs(runs, method, pair) for method in _COLORS}
    return {method: of_method for method, of_method in found.items() if len(of_method)}


def _of(runs: pd.DataFrame, pair: tuple[Any, Any]) -> pd.DataFrame:
    return runs[(runs["weights"] == pair[0]) & (runs["activations"] == pair[1])]


def _mean_and_runs(axis: Axes, x: Any, y: Any, color: str, marker: str) -> None:
    axis.plot(x, y, ".", color=color, alpha=0.5, ms=5)
    axis.plot([np.mean(x)], [np.mean(y)], marker, color=color, ms=13, mew=2)


def _search(key: str) -> Any:
    """What happens during the search: confidence by epoch, and how many weights change their choice."""
    file = RESULTS / f"{key}_search.json"
    if not file.exists():
        return None
    runs: dict[str, list[dict[str, Any]]] = json.loads(file.read_text())
    figure, axes = plt.subplots(1, len(runs) + 1, figsize=(4 * (len(runs) + 1), 3.6), layout="constrained")
    for axis, (name, epochs) in zip(axes, runs.items(), strict=False):
        shares = np.array([epoch["confidence_histogram"] for epoch in epochs])
        image = axis.imshow(
            shares.T * 100, origin="lower", aspect="auto", extent=(0.5, len(epochs) + 0.5, 0, 1), cmap="Blues",
            norm=LogNorm(0.1, 100),
        )  # fmt: skip
        axis.set_title(f"{name}: probability of the chosen value")
        axis.set_xlabel("epoch")
        axis.set_ylabel("confidence")
        axis.set_ylim(1 / 2 ** int(name[1]), 1)  # no less than all values alike
    bar = figure.colorbar(image, ax=axes[: len(runs)], label="% of the weights", shrink=0.8, format="{x:g}")
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    last = axes[-1]
    for name, epochs in runs.items():
        changed = [100 * epoch["changed"] or None for epoch in epochs]  # none at all has no place on the scale
        last.plot(range(1, len(epochs) + 1), changed, "o-", ms=4, label=name)
    last.set_yscale("log")
    last.yaxis.set_major_formatter("{x:g}")
    last.yaxis.set_minor_formatter(NullFormatter())
    last.set_title("weights that change their choice")
    last.set_xlabel("epoch")
    last.set_ylabel("% of the weights, in the epoch")
    last.grid(alpha=0.3)
    last.legend()
    return figure


def _sensitivity(key: str) -> Any:
    """How far the outputs move when one layer alone is quantized, by layer and bits."""
    file = RESULTS / f"{key}_sensitivity.json"
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
    axis.set_title(f"{key}: one layer quantized at a time, before any training")
    axis.grid(axis="y", alpha=0.3)
    axis.legend()
    return figure
