"""Speed and size of searched networks beside float and NNCF's 8 bits, under limits that show other processors.

    python -m benchmarks.openvino.speed --work runs/benchmarks     about 15 minutes; makes the IRs, then measures

Each limit and number of threads is one process, in which all IRs of a group are measured in turns
(`nncf_slb.benchmark_openvino`). Results go to `benchmarks/openvino/results`: a CSV file with every figure, and
Markdown tables, for each machine; `benchmarks.openvino.machines` sets these beside each other.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import openvino as ov

from benchmarks.openvino.networks import (
    Export,
    export_linear,
    export_reference,
    export_searched,
    searched_controller,
)
from nncf_slb.hosts.quiet import quieten
from nncf_slb.openvino.ir import device_name
from nncf_slb.tables import markdown_table
from samples.classification.recipes import RECIPES

RESULTS = Path(__file__).parent / "results"
LIMITS = ("none", "AVX512_CORE_VNNI", "AVX512_CORE", "AVX2")
THREADS = (1, 2)
_WIDTH = 4096


@dataclass(frozen=True)
class Group:
    """IRs that are compared with each other.

    Attributes:
        name: What the table is called.
        irs: Paths, the float network first and NNCF's 8 bits second.
        limits: Limits of instruction sets to measure under.
        rounds: Rounds that count.
    """

    name: str
    irs: tuple[Path, ...]
    limits: tuple[str, ...]
    rounds: int


@dataclass(frozen=True)
class Row:
    """One IR under one limit."""

    group: str
    limit: str
    threads: int
    ir: str
    bin_bytes: int
    ms: float
    ms_low: float
    ms_high: float
    samples_per_s: float
    latency_to_float: float
    latency_to_int8: float
    throughput_to_float: float
    throughput_to_int8: float


def make(work: Path) -> tuple[list[Group], list[Export]]:
    """Export every network into a folder."""
    work.mkdir(parents=True, exist_ok=True)
    groups, exports = [], []
    for model, rounds in (("resnet18_imagenet", 40), ("resnet20_cifar10", 100)):
        irs = list(export_reference(RECIPES[f"{model}_float"], work, f"{model}_"))
        for bits in (1, 2, 3, 4):
            controller = searched_controller(RECIPES[f"{model}_w2a8"], bits)
            irs.append(work / f"{model}_w{bits}a8.xml")
            exports.append(export_searched(controller, irs[-1]))
        groups.append(Group(f"{model}, A8", tuple(irs), LIMITS, rounds))
    model = "resnet18_imagenet"
    irs = list(export_reference(RECIPES[f"{model}_bireal_float"], work, f"{model}_bireal_"))
    controller = searched_controller(RECIPES[f"{model}_w1a1"])
    for form in ("always", "never"):
        irs.append(work / f"{model}_w1a1_{'binary' if form == 'always' else 'int8'}.xml")
        exports.append(export_searched(controller, irs[-1], binary_convolution=form))
    groups.append(Group(f"{model}, Bi-Real, W1A1", tuple(irs), LIMITS, 40))
    linear = tuple(export_linear(_WIDTH, work))
    groups.append(Group(f"Linear {_WIDTH} x {_WIDTH}", linear, LIMITS[:1], 100))
    return groups, exports


def measure(group: Group, limit: str, threads: int) -> Iterator[Row]:
    """Run the command line's benchmark in a process of its own, since a limit holds for a whole process."""
    environment = {**os.environ, **({"ONEDNN_MAX_CPU_ISA": limit} if limit != "none" else {})}
    command = [sys.executable, "-m", "nncf_slb.cli", "benchmark", *map(str, group.irs), "--json"]
    command += ["--threads", str(threads), "--rounds", str(group.rounds)]
    command += ["--property", "INFERENCE_PRECISION_HINT=f32"]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True)
    if printed.returncode:
        raise RuntimeError(f"{group.name}, limit {limit}: {printed.stderr.strip()}")
    timings = json.loads(printed.stdout)["timings"]
    reference, int8 = timings[0], timings[1]
    for each in timings:
        latency = each["latency"]
        to_float, to_int8 = (
            [each[ratio]["median"] / other[ratio]["median"] for ratio in ("latency_ratio", "throughput_ratio")]
            for other in (reference, int8)
        )
        yield Row(
            group.name, limit, threads, Path(each["path"]).stem, each["bin_bytes"],
            latency["median"], latency["low"], latency["high"], each["throughput"]["median"],
            to_float[0], to_int8[0], to_float[1], to_int8[1],
        )  # fmt: skip


def profile(group: Group, ir: str, limit: str) -> str:
    """Table of where the time of one IR goes, one thread."""
    path = next(each for each in group.irs if each.stem == ir)
    command = [sys.executable, "-m", "benchmarks.openvino.profile", str(path)]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def export_table(exports: list[Export]) -> str:
    """Cost of each export, and its size beside the arithmetic."""
    names = ["IR", "s", "MB", ".bin bytes", "weights", "ratio", "with scales and shifts", "ratio", "in low precision"]
    rows = [
        [
            each.ir, f"{each.seconds:.1f}", f"{each.megabytes:.0f}", f"{each.bin_bytes:,}", f"{each.weight_bytes:,}",
            f"{each.bin_bytes / each.weight_bytes:.4f}", f"{each.arithmetic_bytes:,}",
            f"{each.bin_bytes / each.arithmetic_bytes:.4f}", f"{each.low_precision} of {each.searched}",
        ]
        for each in exports
    ]  # fmt: skip
    return markdown_table(names, rows, "l" + "r" * (len(names) - 1))


def markdown(rows: list[Row], exports: list[Export], profiles: dict[str, str]) -> str:
    """All tables."""
    lines = [
        f"{device_name('CPU')}, {os.cpu_count()} cores, OpenVINO {ov.get_version().split('-')[0]}, {date.today()}, "
        "`python -m benchmarks.openvino.speed`. Batch 1, floating point in float32. Ratios: how many times as fast as "
        "float or NNCF's 8 bits; lat. = one inference after another, thr. = as many at a time as there are threads.",
    ]
    for group in dict.fromkeys(row.group for row in rows):
        lines += ["", f"### {group}", ""]
        names = ["limit", "threads", "IR", ".bin bytes", "ms (10-90 %)", "samples/s"]
        names += [f"{what} / {to}" for what in ("lat.", "thr.") for to in ("float", "int8")]
        lines.append(markdown_table(names, [_cells(row) for row in rows if row.group == group], "lrlrrrrrrr"))
    lines += [
        "",
        "### Export and size",
        "",
        "s and MB: time of the export, and peak memory meanwhile beyond what was in use before. weights: bytes of all "
        "weights at the bits they are stored in; with scales and shifts: and 4 bytes for each of these. Last column: "
        "searched layers that run in int8 or binary.",
        "",
        export_table(exports),
    ]
    for title, text in profiles.items():
        lines += ["", f"### {title}", "", text.strip()]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    return [
        row.limit, str(row.threads), row.ir, f"{row.bin_bytes:,}", f"{row.ms:.3f} ({row.ms_low:.3f}-{row.ms_high:.3f})",
        f"{row.samples_per_s:.1f}", f"{row.latency_to_float:.2f}", f"{row.latency_to_int8:.2f}",
        f"{row.throughput_to_float:.2f}", f"{row.throughput_to_int8:.2f}",
    ]  # fmt: skip


def main() -> int:
    """Make, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="folder for the IRs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the tables")
    arguments = parser.parse_args()
    quieten()
    groups, exports = make(arguments.work)
    print(export_table(exports), flush=True)
    rows: list[Row] = []
    for group in groups:
        for limit in group.limits:
            for threads in THREADS:
                print(f"{group.name}, limit {limit}, {threads} threads", flush=True)
                rows += measure(group, limit, threads)
    arguments.results.mkdir(parents=True, exist_ok=True)
    machine = re.sub(r"[^a-z0-9]+", "-", f"{device_name('CPU')} {date.today()}".lower()).strip("-")
    with (arguments.results / f"speed-{machine}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    bireal = next(group for group in groups if "W1A1" in group.name)
    profiles = {
        f"Where the time goes: {ir}, limit AVX2, 1 thread": profile(bireal, ir, "AVX2")
        for ir in (bireal.irs[1].stem, bireal.irs[2].stem)
    }
    (arguments.results / f"speed-{machine}.md").write_text(markdown(rows, exports, profiles))
    return 0


if __name__ == "__main__":
    sys.exit(main())
