"""Writes the generated parts of docs/post-training.md and its plot from the CSV file in ``results``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only, no window

import matplotlib.pyplot as plt
import pandas as pd

from benchmarks.documents import write_between_markers
from benchmarks.post_training.networks import NETWORKS
from nncf_slb.tables import markdown_table

_OTHERS = ("Brevitas, GPTQ", "Brevitas, learned rounding")
_FLOAT_BITS = 32
DOCS = Path(__file__).resolve().parents[2] / "docs"


def write(file: Path) -> None:
    """Bring the page up to date."""
    runs = pd.read_csv(file)
    page = DOCS / "post-training.md"
    write_between_markers(page, "post-training table", losses(runs))
    write_between_markers(page, "post-training rivals", beside_others(runs))
    write_between_markers(page, "post-training images", by_images(runs))
    write_between_markers(page, "post-training blocks", by_blocks(runs))
    draw(runs, DOCS / "images" / "post_training_images.png")


def losses(runs: pd.DataFrame) -> str:
    """Lost to float by pair of bits: mean over the seeds, range behind it, that of nearest values in brackets."""
    searched = runs[runs["method"] == "search"]
    pairs = list(dict.fromkeys(zip(searched["weights"], searched["activations"], strict=True)))
    pairs.sort(key=lambda pair: (-pair[1], -pair[0]))
    header = ["network", "float", *(f"W{w}A{a}" for w, a in pairs), "NNCF 8-bit", "steps", "seeds", "seconds"]
    rows = []
    for network in [name for name in NETWORKS if (searched["network"] == name).any()]:
        own = searched[searched["network"] == network]
        cells = [_cell(own[(own["weights"] == w) & (own["activations"] == a)]) for w, a in pairs]
        eight = runs[(runs["method"] == "NNCF 8-bit") & (runs["network"] == network)]
        unit = NETWORKS[network].unit
        rows.append([
            f"{network}, {unit}", f"{own['float'].mean():.2f}", *cells,
            "" if eight.empty else f"{(eight['float'] - eight['searched']).mean():.2f}",
            _steps(own), _seeds(own), _range(own["seconds"]),
        ])  # fmt: skip
    counts = sorted({int(count) for count in searched["threads"].dropna()})
    threads = ", ".join(f"{count} thread{'s' if count > 1 else ''}" for count in counts)
    machine = ", ".join(sorted(set(runs["device"])))
    table = markdown_table(header, rows, "l" + "r" * (len(header) - 1))
    return f"{machine}, {threads}.\n\n{table}"


def _steps(runs: pd.DataFrame) -> str:
    """Steps and the samples of each."""
    return f"{runs['steps'].max():,.0f} of {runs['batch_size'].max():.0f}"


def _seeds(runs: pd.DataFrame) -> str:
    counts = runs.groupby(["weights", "activations"])["seed"].nunique()
    return _range(counts)


def _range(numbers: pd.Series) -> str:
    low, high = f"{numbers.min():.0f}", f"{numbers.max():.0f}"
    return low if low == high else f"{low} to {high}"


def _cell(runs: pd.DataFrame) -> str:
    if runs.empty:
        return ""
    lost, nearest = runs["float"] - runs["searched"], runs["float"] - runs["nearest"]
    return f"{_points(lost.mean())} (nearest {_points(nearest.mean())})"


def beside_others(runs: pd.DataFrame) -> str:
    """Lost to float with 32-bit inputs: nearest values, other methods, and the search."""
    own = runs[(runs["activations"] == _FLOAT_BITS) & runs["method"].isin(["search", *_OTHERS])]
    rows = []
    for network in [name for name in NETWORKS if own[own["method"] != "search"]["network"].eq(name).any()]:
        for bits in (4, 3, 2):
            alike = own[(own["network"] == network) & (own["weights"] == bits)]
            searched = alike[alike["method"] == "search"]
            others = [alike[alike["method"] == name] for name in _OTHERS]
            cells = ["" if part.empty else _lost(part["float"] - part["searched"]) for part in (*others, searched)]
            nearest = "" if searched.empty else _lost(searched["float"] - searched["nearest"])
            rows.append([f"{network}, {NETWORKS[network].unit}", f"W{bits}A32", nearest, *cells])
    header = ["network", "bits", "nearest values", *_OTHERS, "search"]
    return markdown_table(header, rows, "ll" + "r" * (len(header) - 2)) if rows else ""


def _lost(points: pd.Series) -> str:
    return f"{_points(points.mean())} ({_points(points.min())} to {_points(points.max())})"


def _points(number: float) -> str:
    return f"{round(number, 2) + 0.0:.2f}"  # no minus before 0.00


def by_images(runs: pd.DataFrame) -> str:
    """Accuracy by the number of images, small ResNet, 32-bit inputs."""
    own = runs[runs["method"] == "images"]
    counts = sorted(set(own["samples"]))
    rows = [
        [f"W{weights}", *(_mean(own[(own["weights"] == weights) & (own["samples"] == count)]) for count in counts)]
        for weights in sorted(set(own["weights"]), reverse=True)
    ]
    if not counts:
        return "Not run yet."
    return markdown_table(["bits", *(f"{count:,} images" for count in counts)], rows, "l" + "r" * len(counts))


def _mean(runs: pd.DataFrame) -> str:
    return "" if runs.empty else f"{runs['searched'].mean():.2f} ({runs['seconds'].mean():.0f} s)"


def by_blocks(runs: pd.DataFrame) -> str:
    """Lost to float block by block, small ResNet, 32-bit inputs, beside the search of the whole network."""
    own = runs[runs["method"] == "blocks"]
    rows = []
    for weights in sorted(set(own["weights"]), reverse=True):
        by_block = own[own["weights"] == weights]
        same = (runs["network"] == "small ResNet") & (runs["activations"] == _FLOAT_BITS) & (runs["weights"] == weights)
        whole = runs[same & (runs["method"] == "search")]
        nearest = _lost(by_block["float"] - by_block["nearest"])
        rows.append([f"W{weights}", nearest, *(_lost(part["float"] - part["searched"]) for part in (by_block, whole))])
    return markdown_table(["bits", "nearest values", "block by block", "whole network"], rows, "lrrr")


def draw(runs: pd.DataFrame, file: Path) -> None:
    """Accuracy over the number of images: each seed, and the mean."""
    own = runs[runs["method"] == "images"]
    if own.empty:
        return
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.axhline(own["float"].mean(), color="0.6", linewidth=1, label="float")
    colors: dict[Any, str] = {2: "tab:blue", 1: "tab:orange"}
    for weights, part in own.groupby("weights"):
        means = part.groupby("samples")["searched"].mean()
        axes.plot(part["samples"], part["searched"], ".", color=colors[weights], alpha=0.5)
        axes.plot(means.index, means, "-", color=colors[weights], label=f"{weights} bit{'s' if weights > 1 else ''}")
    axes.set_xscale("log")
    axes.set_xticks(sorted(set(own["samples"])), [f"{count:,}" for count in sorted(set(own["samples"]))])
    axes.minorticks_off()
    axes.set_xlabel("images without labels (logarithmic)")
    axes.set_ylabel("top-1 on the test set, %")
    axes.set_title("small ResNet, Fashion-MNIST, 32-bit inputs")
    axes.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)
