"""Cost of training: steps of every method beside float, memory and checkpoints, and their growth with the weights.

    python -m benchmarks.training steps weights report          about 40 minutes; leave the machine alone meanwhile

All methods take turns in one process, so their ratios hold whatever else the machine does for a while. Results go to
`benchmarks/training/results` and, by ``report``, to docs/performance.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import pandas as pd
import torch

from benchmarks.training import loops, report
from nncf_slb.files import new_file
from nncf_slb.hosts.quiet import quieten
from nncf_slb.openvino.ir import device_name

_WEIGHTS = (1_000_000, 10_000_000, 100_000_000)
_METHODS_BY_WEIGHTS = ("float", "slb", "slb without mean")


def steps() -> None:
    """Time of a step, as a ratio to float's in the same round."""
    rows = []
    for name, network in loops.NETWORKS.items():
        methods = loops.methods()
        rounds = network.rounds
        total = network.steps * (rounds + 1)
        running = {method: loops.Loop(network, method, total) for method in methods}
        times: dict[str, list[float]] = {method: [] for method in methods}
        for turn in range(rounds + 1):
            for method, loop in running.items():
                started = time.perf_counter()
                for _ in range(network.steps):
                    loop.step()
                if turn:  # the first one warms up
                    times[method].append((time.perf_counter() - started) / network.steps)
            print(f"{name}: round {turn} of {rounds}", flush=True)
        size = running[loops.FLOAT].state_bytes()
        for method, loop in running.items():
            ratios = sorted(own / other for own, other in zip(times[method], times[loops.FLOAT], strict=True))
            rows.append({
                **_where(), "network": name, "batch": network.batch, "method": method,
                "ms": 1000 * statistics.median(times[method]), "ratio": statistics.median(ratios),
                "ratio_low": ratios[len(ratios) // 10], "ratio_high": ratios[-1 - len(ratios) // 10],
                "rounds": rounds, "state_ratio": loop.state_bytes() / size,
            })  # fmt: skip
        del running
        gc.collect()
    _save(rows, "steps")


def weights() -> None:
    """Creation, step and peak memory by the number of weights, each in a process of its own."""
    rows = []
    for count in _WEIGHTS:
        for method in _METHODS_BY_WEIGHTS:
            for bits in (2,) if method != "slb" else loops.BITS:
                command = [sys.executable, "-m", "benchmarks.training.weights", method, str(count), str(bits)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1]}")
                measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
                rows.append({**_where(), **measured})
                print(f"{count:,} weights, {method}, {bits} bits: {measured}", flush=True)
    _save(rows, "weights")


def _where() -> dict[str, Any]:
    return {"date": str(date.today()), "machine": device_name("CPU"), "threads": torch.get_num_threads()}


def _save(rows: list[dict[str, Any]], name: str) -> None:
    report.RESULTS.mkdir(exist_ok=True)
    with new_file(report.RESULTS / f"{name}.csv") as partial:
        pd.DataFrame(rows).to_csv(partial, index=False, float_format="%.5g")


PARTS: dict[str, Callable[[], None]] = {
    "steps": steps,
    "weights": weights,
    "report": report.write,
}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}; all by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"parts: received {', '.join(sorted(unknown))}; allowed are {', '.join(PARTS)}")
    quieten()
    for part in arguments.parts:
        PARTS[part]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
