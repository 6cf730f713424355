"""Writes the generated parts of docs/performance.md and its plot from the CSV files in ``results``."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only, no window

import matplotlib.pyplot as plt
import pandas as pd

from benchmarks.documents import write_between_markers
from nncf_slb.tables import markdown_table

RESULTS = Path(__file__).resolve().parent / "results"
DOCS = Path(__file__).resolve().parents[2] / "docs"
_MILLION = 1e6


def write() -> None:
    """Bring the page up to date."""
    page = DOCS / "performance.md"
    steps, weights = (pd.read_csv(RESULTS / f"{name}.csv") for name in ("steps", "weights"))
    write_between_markers(page, "training steps", steps_table(steps))
    write_between_markers(page, "training weights", weights_table(weights))
    if (RESULTS / "hosts.csv").exists():
        write_between_markers(page, "training hosts", hosts_table(pd.read_csv(RESULTS / "hosts.csv")))
    draw(weights, DOCS / "images" / "training_weights.png")


def steps_table(table: pd.DataFrame) -> str:
    """Ratio of each method's step to float's, for each network; state dict of the first network."""
    networks = list(dict.fromkeys(table["network"]))
    lines = []
    for method in dict.fromkeys(table["method"]):
        rows = table[table["method"] == method].set_index("network")
        cells = [
            f"{row['ratio']:.2f} ({row['ratio_low']:.2f}-{row['ratio_high']:.2f})"
            if method != "float"
            else f"{row['ms']:.0f} ms"
            for row in (rows.loc[network] for network in networks)
        ]
        state = rows.loc[networks[-1]]["state_ratio"]
        lines.append([method, *cells, f"{state:.2f}"])
    batches = table.drop_duplicates("network").set_index("network")["batch"]
    header = ["method", *(f"{network}, batch {batches[network]}" for network in networks), "state dict"]
    return _of(table) + "\n\n" + markdown_table(header, lines, "l" + "r" * (len(header) - 1))


def hosts_table(table: pd.DataFrame) -> str:
    """Ratio of each host's step to float's."""
    networks = list(dict.fromkeys(table["network"]))
    lines = [
        [
            host, str(bits),
            *(
                f"{row.ratio:.2f} ({row.low:.2f}-{row.high:.2f})"
                for network in networks
                for row in rows[rows["network"] == network].itertuples()
            ),
        ]
        for (host, bits), rows in table.groupby(["host", "bits"], sort=True)
    ]  # fmt: skip
    batches = table.drop_duplicates("network").set_index("network")["batch"]
    header = ["host", "bits", *(f"{network}, batch {batches[network]}" for network in networks)]
    return _of(table) + "\n\n" + markdown_table(header, lines, "lr" + "r" * len(networks))


def weights_table(table: pd.DataFrame) -> str:
    """Creation, step and peak memory by the number of weights."""
    header = ["weights", "method", "bits", "creation, s", "step, s", "peak memory, weights"]
    lines = [
        [
            f"{row.weights / _MILLION:.0f} million", row.method, "32" if row.method == "float" else str(row.bits),
            f"{row.create_s:.2f}", f"{row.step_s:.3f}", f"{row.peak_in_weights:.1f}",
        ]
        for row in table.itertuples()
    ]  # fmt: skip
    return _of(table) + "\n\n" + markdown_table(header, lines, "rlrrrr")


def _of(table: pd.DataFrame) -> str:
    first = table.iloc[0]
    return f"{first['machine']}, {first['threads']} threads, {first['date']}."


def draw(table: pd.DataFrame, path: Path) -> None:
    """Step and peak memory against the number of weights."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for (method, bits), rows in table.groupby(["method", "bits"], sort=False):
        label = "float" if method == "float" else f"{method}, W{bits}"
        style = "k--" if method == "float" else "o-"
        count = rows["weights"] / _MILLION
        axes[0].plot(count, rows["step_s"], style, label=label)
        axes[1].plot(count, rows["peak_bytes"] / 2**20, style, label=label)
    for axis, text in zip(axes, ("seconds of a training step", "peak memory, MiB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="million weights", ylabel=text)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
