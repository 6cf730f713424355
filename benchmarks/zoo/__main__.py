"""Search, export and compare real architectures with random weights, each in a process of its own; then report.

python -m benchmarks.zoo --work runs/zoo --report docs/zoo.md     about 30 minutes; continues after an interruption
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.zoo.networks import NETWORKS
from benchmarks.zoo.report import write_report
from benchmarks.zoo.worker import FAILED, FLOAT, RESULTS, Row, append, work
from nncf_slb.version import __version__

_ACTIVATIONS = (FLOAT, 8)
_EVERYWHERE = ((2, FLOAT), (2, 8))
_IN_TURNS = ((1, FLOAT), (3, 8), (4, FLOAT), (1, 8), (3, FLOAT), (4, 8))
_PER_TWO_NETWORKS = 3
_LIMIT = 180.0


def default_plan(names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Network, bits of weights and of activations: 2 bits for every network, each other pair for a quarter of them."""
    plan = [(name, *pair) for pair in _EVERYWHERE for name in names]
    for index, name in enumerate(names):
        first, end = (_PER_TWO_NETWORKS * each // 2 for each in (index, index + 1))
        plan += [(name, *_IN_TURNS[turn % len(_IN_TURNS)]) for turn in range(first, end)]
    return plan


def read_rows(folder: Path) -> list[Row]:
    """Rows of a folder, in the order in which they were added, the last one of each network and pair."""
    file = folder / RESULTS
    lines = file.read_text().splitlines() if file.exists() else []
    latest: dict[tuple[str, str], Row] = {}
    for row in (Row(**json.loads(line)) for line in lines):
        latest.pop((row.network, row.pair), None)
        latest[row.network, row.pair] = row
    return list(latest.values())


def commit() -> str:
    """Of this package; its version where it is no git repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or __version__


def run(row: Row, folder: Path, limit: float) -> None:
    """Run one process, and a second one without training where the first crashes.

    PyTorch 2.13 may crash in the backward pass of 1x1 convolutions with a stride of 2, without this package too.
    """
    for trained in (True, False):
        exit_code = _process(row, folder, trained, limit)
        if exit_code == 0:
            return
        if exit_code is None:
            append(_failed(row, f"ended after {limit:g} s", limit), folder / RESULTS)
            return
    append(_failed(row, f"crashed: {_cause(exit_code)}", 0), folder / RESULTS)


def _process(row: Row, folder: Path, trained: bool, limit: float) -> int | None:
    """Exit code of a process that adds a row; None where its time ran out."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.zoo.preloaded"])
    log = folder / "logs" / f"{row.network}_{row.pair}.txt"
    process = context.Process(target=work, args=(row, folder, trained, log), daemon=True)
    process.start()
    process.join(limit)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    return process.exitcode


def _failed(row: Row, reason: str, seconds: float) -> Row:
    return Row(row.network, row.bits, row.activations, row.commit, FAILED, "unknown", reason, seconds=seconds)


def _cause(exit_code: int) -> str:
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


def _run_all(plan: list[tuple[str, int, int]], options: argparse.Namespace) -> Iterator[Row]:
    """Run what has no row of this commit."""
    now = commit()
    done = {(row.network, row.pair) for row in read_rows(options.work) if row.commit == now and not options.fresh}
    for network, bits, activations in plan:
        row = Row(network, bits, activations, now)
        if (network, row.pair) not in done:
            run(row, options.work, options.limit)
            yield read_rows(options.work)[-1]


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.zoo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/zoo"), help="folder of results, files and logs")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, metavar="NAME", help="networks; by default all")
    bits = "bits of the weights, with float and 8-bit activations; by default as in the report"
    parser.add_argument("--bits", nargs="+", type=int, choices=(1, 2, 3, 4), metavar="BITS", help=bits)
    parser.add_argument("--limit", type=float, default=_LIMIT, help="seconds that one process may take")
    parser.add_argument("--report", type=Path, help="page to write")
    parser.add_argument("--fresh", action="store_true", help="run again what has a result")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run what is missing, then write the report."""
    options = _arguments(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the running process with this one
    plan = default_plan(list(NETWORKS))
    if options.bits:
        plan = [(name, bits, each) for bits in options.bits for each in _ACTIVATIONS for name in NETWORKS]
    plan = [entry for entry in plan if not options.only or entry[0] in options.only]
    for row in _run_all(plan, options):
        print(f"{row.network:30} {row.pair:6} {row.outcome:9} {row.seconds:6.1f} s  {row.reason}", flush=True)
    if options.report:
        write_report(read_rows(options.work), options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
