"""The machines whose speed was measured, beside each other in the docs.

    python -m benchmarks.openvino.machines docs/openvino.md

Reads every ``results/speed-MACHINE-DATE.csv``, which `benchmarks.openvino.speed` writes, one for each machine.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.documents import write_between_markers
from benchmarks.openvino.speed import LIMITS, RESULTS
from nncf_slb.tables import markdown_table

TITLES = {"amd-epyc": "AMD EPYC", "xeon-amx": "Xeon"}
Figures = list[dict[str, str]]
# Files of a row: its name, the group, and what the files' names end in.
ROWS = (
    ("ResNet-18, W1-W4 A8", "resnet18_imagenet, A8", r"w[1-4]a8"),
    ("ResNet-20, W1-W4 A8", "resnet20_cifar10, A8", r"w[1-4]a8"),
    ("ResNet-18 (Bi-Real), W1A1 binary", "resnet18_imagenet, Bi-Real, W1A1", r"w1a1_binary"),
    ("the same in int8 (`never`)", "resnet18_imagenet, Bi-Real, W1A1", r"w1a1_int8"),
)
LINEAR = (
    ("Linear 4096 x 4096, W2 A32", r"w2"),
    ("the same, `linear` fastest", r"w2_dynamic"),
)


def figures() -> dict[str, Figures]:
    """Rows of the CSV files by machine and date."""
    found: dict[str, Figures] = {}
    for file in sorted(RESULTS.glob("speed-*.csv")):
        named = re.fullmatch(r"speed-(.+)-(\d{4}-\d\d-\d\d)", file.stem)
        assert named is not None, f"{file}: allowed are names speed-MACHINE-YYYY-MM-DD.csv"
        machine, day = named.groups()
        with file.open(newline="") as text:
            found[f"{TITLES.get(machine, machine)}, {day}"] = list(csv.DictReader(text))
    return found


def _range(rows: Figures, group: str, ending: str, limit: str, column: str) -> str:
    numbers = [
        float(row[column])
        for row in rows
        if row["group"] == group and row["limit"] == limit and re.search(rf"_{ending}$", row["ir"])
    ]
    if not numbers:
        return ""
    low, high = (f"{number:.2f}" for number in (min(numbers), max(numbers)))
    return low if low == high else f"{low}-{high}"


def _table(rows: Iterable[tuple[str, str, str]], limits: Iterable[str], machines: dict[str, Figures]) -> str:
    header = ["", "machine", "", *("as it is" if limit == "none" else f"limit {limit}" for limit in limits)]
    lines = [
        [name, machine, what, *(_range(measured, group, ending, limit, column) for limit in limits)]
        for name, group, ending in rows
        for machine, measured in machines.items()
        for what, column in (("throughput", "throughput_to_int8"), ("latency", "latency_to_int8"))
    ]
    return markdown_table(header, lines, "lll" + "r" * len(tuple(limits)))


def tables() -> str:
    """Both tables: convolutions under each limit, Linear layers on the machines as they are."""
    machines = figures()
    linear = [(name, "Linear 4096 x 4096", ending) for name, ending in LINEAR]
    return "\n\n".join([_table(ROWS, LIMITS, machines), _table(linear, LIMITS[:1], machines)])


if __name__ == "__main__":
    write_between_markers(Path(sys.argv[1]), "speed of machines", tables())
