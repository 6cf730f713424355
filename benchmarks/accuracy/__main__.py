"""Accuracy studies: run what a table still lacks, write its CSV file, and bring docs/results.md up to date.

    python -m benchmarks.accuracy rows distilled random rivals epochs mixed ablation report --work runs/accuracy
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.accuracy import ablation, report, results, worker
from benchmarks.accuracy.protocol import DISTILLED_ROWS, METHODS, RATES, ROWS, Protocol
from benchmarks.jobs import Job, result_of, write_json
from benchmarks.pool import FailedJobsError, MissingEnvironmentError, Study, run_jobs

Maker = Callable[[tuple[str, float], int, bool], Job]  # (optimizer and learning rate, seed, whether to test) -> run


def _starts(protocol: Protocol) -> list[Job]:
    found = [protocol.float_start(f"w{w}a{a}") for w, a in ROWS]
    return list({job.name: job for job in found}.values())


def _run(name: str, jobs: list[Job], protocol: Protocol, study: Study) -> None:
    """Run jobs and save their rows as ``NETWORK_DATASET_NAME.csv``; an interrupted table holds what was completed."""
    try:
        run_jobs([*_starts(protocol), *jobs], study)
    finally:
        found = {job.name: result_of(job, study.folder) for job in jobs}
        done = {name: result for name, result in found.items() if result is not None}
        results.save(results.frame(jobs, done, study.folder), f"{protocol.key}_{name}")


def _best_runs(makers: list[Maker], protocol: Protocol, study: Study) -> list[Job]:
    """Runs of each maker: all rates with the first seed, then all seeds with the rate that validation prefers."""
    first = protocol.seeds[0]
    tried = [{rate: make(rate, first, False) for rate in RATES} for make in makers]
    done = run_jobs([*_starts(protocol), *(job for by_rate in tried for job in by_rate.values())], study)
    runs: list[Job] = []
    for make, by_rate in zip(makers, tried, strict=True):
        top1 = {rate: done[job.name]["val_top1"] for rate, job in by_rate.items()}
        best = max(top1, key=top1.__getitem__)
        runs += [make(best, seed, True) for seed in protocol.seeds]
        runs += [job for rate, job in by_rate.items() if rate != best]
    return runs


def rows(protocol: Protocol, study: Study, random: bool = False) -> None:
    """The paper's twelve rows, and the float networks trained for the same epochs."""
    kinds = {protocol.float_start(f"w{w}a{a}").name: f"w{w}a{a}" for w, a in ROWS}
    floats = [partial(protocol.float_more, name, random=random) for name in kinds.values()]
    jobs = _best_runs(floats, protocol, study)
    jobs += [protocol.run_of(row, seed, random) for row in ROWS for seed in protocol.seeds]
    _run("random" if random else "rows", jobs, protocol, study)
    if not random:
        epochs = {f"W{bits}": results.epochs(protocol.run_of((bits, 32), 0), study.folder) for bits in (1, 2, 4)}
        write_json(epochs, results.RESULTS / f"{protocol.key}_search.json")


def distilled(protocol: Protocol, study: Study) -> None:
    """Rows with distillation from the float network."""
    jobs = [protocol.distilled(row, seed) for row in DISTILLED_ROWS for seed in protocol.seeds]
    _run("distilled", jobs, protocol, study)


def rivals(protocol: Protocol, study: Study) -> None:
    """Every rival with its own best learning rate; those of one bit with distillation as well."""
    makers = [partial(protocol.rival, method) for method in METHODS]
    makers += [partial(protocol.rival, method, distilled=True) for method, (bits, *_) in METHODS.items() if bits == 1]
    jobs = _best_runs(makers, protocol, study)
    _run("rivals", jobs, protocol, study)


def epochs(protocol: Protocol, study: Study) -> None:
    """How soon the search is good: whole runs of fewer epochs from the float checkpoint."""
    jobs = [
        protocol.run_of((bits, 32), seed, epochs=count)
        for bits in (1, 2, 4)
        for count in sorted({max(1, protocol.epochs // 4), max(1, protocol.epochs // 2)})
        for seed in protocol.seeds
    ]
    _run("epochs", jobs, protocol, study)


def mixed(protocol: Protocol, study: Study) -> None:
    """Bits chosen by sensitivity beside uniform bits of the same size."""
    jobs = [job for bits in (2, 3) for seed in protocol.seeds for job in protocol.equal_bytes(bits, seed)]
    _run("mixed", jobs, protocol, study)
    start = protocol.float_start("w2a32")
    sensitivities = worker.sensitivities(start, study.folder, study.data)
    write_json(sensitivities, results.RESULTS / f"{protocol.key}_sensitivity.json")


def one_change_at_a_time(protocol: Protocol, study: Study) -> None:
    """The ablation, on validation accuracy alone."""
    jobs = [job for bits in (1, 2) for job in ablation.variants(protocol, bits, protocol.seeds)]
    _run("ablation", jobs, protocol, study)


TABLES: dict[str, Callable[[Protocol, Study], None]] = {
    "rows": rows,
    "distilled": distilled,
    "random": lambda protocol, study: rows(protocol, study, random=True),
    "rivals": rivals,
    "epochs": epochs,
    "mixed": mixed,
    "ablation": one_change_at_a_time,
    "report": lambda protocol, study: report.write(protocol),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point; the same command goes on with what an interrupted one left."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("tables", nargs="+", choices=list(TABLES), help="tables to complete, in this order")
    add("--work", type=Path, default=Path("runs/accuracy"), help="folder of all runs, one below it for each study")
    add("--network", default="small_resnet", help="model of the classification sample")
    add("--dataset", default="fashion_mnist", help="data set of the classification sample")
    add("--data", type=Path, help="folder of the data set")
    add("--epochs", type=int, default=8, help="epochs of every method")
    add("--seeds", type=int, default=3, help="number of seeds")
    add("--processes", type=int, default=2, help="runs at a time, one thread each")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--rivals-python", type=Path, default=Path(".venv-rivals/bin/python"), help="Python of the rivals' environment")
    arguments = parser.parse_args(argv)
    protocol = Protocol(
        arguments.network, arguments.dataset, arguments.epochs, tuple(range(arguments.seeds))
    )
    study = Study(
        arguments.work / protocol.key, arguments.data, arguments.device, arguments.processes, arguments.rivals_python
    )
    try:
        for table in arguments.tables:
            TABLES[table](protocol, study)
    except (FailedJobsError, MissingEnvironmentError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from the last completed epoch of each run.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
