"""Writes the generated parts of docs/results.md and its plots from the CSV files in ``results``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from scipy import stats

from benchmarks.accuracy import plots
from benchmarks.accuracy.protocol import AS_SHIPPED, DISTILLED, DISTILLED_BY_MIRROR, METHODS, PAPER_GAPS, ROWS, Protocol
from benchmarks.accuracy.results import RESULTS, chosen_runs, load, markdown, mean_and_deviation
from benchmarks.documents import page_of, write_between_markers

PARTS = ("rows", "accuracy", "distilled", "random", "rivals", "epochs", "sensitivity", "mixed", "search", "ablation")
DOCS = Path(__file__).resolve().parents[2] / "docs"


def write(protocol: Protocol) -> None:
    """Bring the tables and plots of one network up to date."""
    key = protocol.key
    page = page_of(key, [f"{key} {part}" for part in PARTS], DOCS)
    own = load(f"{key}_rows")
    for name in ("rows", "random"):
        write_between_markers(page, f"{key} {name}", rows_table(load(f"{key}_{name}"), protocol.network))
    taught = load(f"{key}_distilled")
    text = rows_table(taught, protocol.network, DISTILLED, own)
    if (taught["method"] == DISTILLED_BY_MIRROR).any():
        text += "\n\nMirror descent and the mean, with the same teacher:\n\n"
        text += rows_table(taught, protocol.network, DISTILLED_BY_MIRROR, own)
    write_between_markers(page, f"{key} distilled", text)
    pictures = (
        ("accuracy", "rows.csv", "Accuracy of every row and every rival"),
        ("search", "search.json", "Confidence of the weights, and how many change their choice, by epoch"),
        ("sensitivity", "sensitivity.json", "Sensitivity of each layer"),
    )
    for name, source, text in pictures:
        drawn = (RESULTS / f"{key}_{source}").exists()
        write_between_markers(page, f"{key} {name}", f"![{text}](images/{key}_{name}.png)" if drawn else "Not run.")
    both = load(f"{key}_rows", f"{key}_distilled")
    write_between_markers(page, f"{key} rivals", rivals_table(load(f"{key}_rivals"), both))
    write_between_markers(page, f"{key} epochs", epochs_table(load(f"{key}_epochs"), own))
    write_between_markers(page, f"{key} mixed", mixed_table(load(f"{key}_mixed")))
    write_between_markers(page, f"{key} ablation", ablation_table(load(f"{key}_ablation")))
    plots.draw(key, DOCS / "images")


def chosen_floats(table: pd.DataFrame) -> pd.DataFrame:
    """Runs of the float networks that used the test set."""
    return table[(table["method"] == "float") & table["test_top1"].notna()]


def rows_table(table: pd.DataFrame, network: str, method: str = "slb", reference: pd.DataFrame | None = None) -> str:
    """The paper's rows: accuracy, gap to the float network of the same epochs, the paper's gap, searched network.

    Args:
        table: Runs.
        network: Network whose gaps the paper has.
        method: Which of the runs.
        reference: Runs among which the float networks are; `table` if None.
    """
    floats = chosen_floats(table if reference is None else reference)
    header = ["weights / activations", "optimizer", "top-1 %", "float %", "gap", "paper's gap", "searched - discrete"]
    paper = dict(zip(ROWS, PAPER_GAPS.get(network, PAPER_GAPS["resnet20"]), strict=True))
    lines = []
    for pair, gap in paper.items():
        runs = chosen_runs(table, method, pair)
        if runs.empty:
            continue
        own = floats[floats["setting"] == runs["setting"].iloc[0]]["test_top1"]
        lost = own.mean() - runs["test_top1"].mean()
        searched = (runs["searched_test_top1"] - runs["test_top1"]).mean()
        lines.append([
            "{} / {}".format(*pair), _optimizer_of(runs), mean_and_deviation(runs["test_top1"]),
            mean_and_deviation(own), f"{lost:.2f}", f"{gap:.1f}", f"{searched:+.2f}",
        ])  # fmt: skip
    return markdown(header, lines) if lines else "Not run."


def _optimizer_of(runs: pd.DataFrame) -> str:
    return f"{runs.iloc[0]['optimizer']} {runs.iloc[0]['learning_rate']:g}"


def rivals_table(table: pd.DataFrame, own: pd.DataFrame) -> str:
    """Every rival, with the optimizer that validation chose, beside `slb` at the same bits.

    Where the float network teaches a rival, it is compared with `slb` that was taught as well.
    """
    if table.empty:
        return "Not run."
    header = ["bits", "method", "optimizer", "seeds", "top-1 %", "slb - rival", "95 % interval"]
    lines = []
    for pair in dict.fromkeys((w, a) for w, a, _ in METHODS.values()):
        bits = "{} / {}".format(*pair)
        mine = {method: chosen_runs(own, method, pair) for method in ("slb", DISTILLED)}
        for method, runs in mine.items():
            if len(runs):
                text = f"**{mean_and_deviation(runs['test_top1'])}**"
                lines.append([bits, f"**{method}**", _optimizer_of(runs), str(len(runs)), text, "", ""])
        here = table[(table["weights"] == pair[0]) & (table["activations"] == pair[1])]
        for method, runs in here[here["test_top1"].notna()].groupby("method"):
            taught = DISTILLED if str(method).endswith(", distilled") else "slb"
            kinds = {str(method): "test_top1", f"{method}, averaged": "averaged_test_top1"}
            for shown, column in kinds.items():
                if runs[column].notna().any():
                    leads = paired_differences(mine[taught], "test_top1", runs, column)
                    cells = [bits, shown, _optimizer_of(runs), str(len(runs)), mean_and_deviation(runs[column])]
                    lines.append([*cells, f"{leads.mean():+.2f}" if len(leads) else "", interval(leads)])
    return markdown(header, lines)


def paired_differences(ours: pd.DataFrame, column: str, others: pd.DataFrame, other_column: str) -> pd.Series:
    """Ours minus theirs, for each seed that both have."""
    both = ours[["seed", column]].merge(others[["seed", other_column]], on="seed", suffixes=("", "_other"))
    second = other_column if other_column != column else f"{column}_other"
    return (both[column] - both[second]).dropna()


def interval(differences: pd.Series) -> str:
    """95 % interval of a mean by Student's t; empty for fewer than two."""
    count = len(differences)
    if count < 2:
        return ""
    half = float(stats.t.ppf(0.975, count - 1) * differences.std() / count**0.5)
    return f"{differences.mean() - half:+.2f} to {differences.mean() + half:+.2f}"


def epochs_table(table: pd.DataFrame, own: pd.DataFrame) -> str:
    """Accuracy of whole runs by their number of epochs, and what the fewest lose to the most that were run.

    Args:
        table: Runs with the optimizer of the configs.
        own: Runs of the rows, among them those of all epochs with that optimizer.
    """
    if table.empty:
        return "Not run."
    longest = own[(own["method"] == "slb") & (own["activations"] == 32)].assign(setting=AS_SHIPPED)
    optimizer = ["optimizer", "learning_rate"]
    runs = pd.concat([table, longest.merge(table[optimizer].drop_duplicates(), on=optimizer)])
    counts = sorted(runs["epochs"].unique())
    header = ["weights", *(f"{count} epochs" for count in counts), f"lost by {counts[0]} to {counts[-1]}"]
    lines = []
    for (bits, setting), alike in runs.groupby(["weights", "setting"]):
        reached = [alike[alike["epochs"] == count]["test_top1"] for count in counts]
        lost = reached[-1].mean() - reached[0].mean()
        shown = "" if pd.isna(lost) else f"{lost:.2f}"
        lines.append([f"{bits}, {setting}", *map(mean_and_deviation, reached), shown])
    return markdown(header, lines)


def mixed_table(table: pd.DataFrame) -> str:
    """Bits chosen layer by layer beside the same bits everywhere, at equal bytes."""
    if table.empty:
        return "Not run."
    header = ["mean bits", "bits of each layer", "bytes of all codes", "top-1 %", "auto - uniform"]
    lines = []
    for bits, of_bits in table.groupby("weights"):
        means = of_bits.groupby("setting")["test_top1"].mean()
        for setting, runs in of_bits.groupby("setting", sort=False):
            lead = f"{means['auto'] - means['uniform']:+.2f}" if setting == "auto" and "uniform" in means else ""
            size = f"{int(runs['bytes'].max()):,}"
            mean = f"{runs['mean_bits'].mean():.3f}" if setting == "auto" else str(bits)
            lines.append([mean, str(setting), size, mean_and_deviation(runs["test_top1"]), lead])
    return markdown(header, lines)


def ablation_table(table: pd.DataFrame) -> str:
    """One change a row: validation accuracy, its difference to the first row, and loss, for each number of bits."""
    if table.empty:
        return "Not run."
    bits = sorted(table["weights"].unique())
    table = table.fillna({"setting": ""})
    header = ["setting", *(text for b in bits for text in (f"W{b}: top-1 %", "difference", "loss"))]
    base = {b: table[(table["weights"] == b) & (table["method"] == "base")] for b in bits}
    lines = []
    for (factor, setting), runs in table.groupby(["method", "setting"], sort=False):
        cells = [f"{factor}: {setting}" if setting else f"**{factor}**"]
        for b in bits:
            here = runs[runs["weights"] == b]
            values, loss = here["val_top1"], here["val_loss"].mean()
            difference = "" if factor == "base" else f"{_difference(here, base[b]):+.2f}"
            cells += [mean_and_deviation(values), difference, f"{loss:.4f}"] if len(here) else ["", "", ""]
        lines.append(cells)
    return markdown(header, lines)


def _difference(runs: pd.DataFrame, base: pd.DataFrame) -> float:
    """Mean over the seeds that both have, in points."""
    both = runs.merge(base, on="seed", suffixes=("", "_base"))
    return float((both["val_top1"] - both["val_top1_base"]).mean())
