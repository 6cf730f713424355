"""Accuracy studies: run what a table still lacks, write its CSV file, and bring docs/results.md up to date.

python -m benchmarks.accuracy rows distilled random rivals epochs mixed ablation report --work runs/accuracy
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.accuracy import ablation, report, results, worker
from benchmarks.accuracy.protocol import (
    DISTILLED_METHODS,
    DISTILLED_ROWS,
    METHODS,
    PAIRED_METHODS,
    PAIRED_ROWS,
    RATES,
    ROWS,
    SLOW_LOGITS,
    Protocol,
)
from benchmarks.jobs import Job, result_of, write_json
from benchmarks.pool import FailedJobsError, MissingEnvironmentError, Study, run_jobs
from samples.classification.recipes import RECIPES

Maker = Callable[[tuple[str, float], int, bool], Job]  # (optimizer and learning rate, seed, whether to test) -> run


def _starts(protocol: Protocol) -> list[Job]:
    every = protocol.seeds + protocol.more_seeds
    found = [protocol.float_start(f"w{w}a{a}", seed) for seed in every for w, a in ROWS]
    return list({job.name: job for job in found}.values())


def _begins(jobs: list[Job], known: list[Job]) -> list[Job]:
    """Jobs, each behind those that it begins from."""
    by_name = {job.name: job for job in known}
    ordered: dict[str, Job] = {}
    for job in jobs:
        chain = [job]
        while chain[0].start in by_name:
            chain.insert(0, by_name[chain[0].start])
        ordered.update({each.name: each for each in chain})
    return list(ordered.values())


def _complete(
    name: str, jobs: list[Job], protocol: Protocol, study: Study, table: list[Job] | None = None
) -> dict[str, dict[str, Any]]:
    """Run what neither the study's folder nor ``NETWORK_DATASET_NAME.csv`` has, and save that file.

    Args:
        name: Name of the table.
        jobs: Jobs whose rows are asked for.
        protocol: Network, data set, seeds.
        study: Where and how.
        table: Jobs whose rows the file may hold, if they are more; an interrupted table holds what was completed.

    Returns:
        Rows of the file by job name.
    """
    file = f"{protocol.key}_{name}"
    recorded = results.recorded(jobs, results.load(file))
    lacking = [job for job in jobs if job.name not in recorded]
    try:
        run_jobs(_begins(lacking, [*_starts(protocol), *jobs]), study)
    finally:
        rows = results.rows(table or jobs, study.folder, results.load(file))
        results.save(list(rows.values()), file)
    return rows


def _complete_with_best(
    name: str, makers: list[Maker], protocol: Protocol, study: Study, paired: Sequence[Maker] = ()
) -> None:
    """`_complete` with runs of each maker: all rates with the first seed, all seeds with the one validation prefers.

    Those that are `paired` take the protocol's further seeds as well.
    """
    first, every = protocol.seeds[0], protocol.seeds + protocol.more_seeds
    makers = [*paired, *makers]
    seeds_of = [every if make in paired else protocol.seeds for make in makers]
    table = [
        make(rate, seed, False)
        for make, seeds in zip(makers, seeds_of, strict=True)
        for seed in seeds
        for rate in RATES
    ]
    tried = [{rate: make(rate, first, False) for rate in RATES} for make in makers]
    rows = _complete(name, [job for by_rate in tried for job in by_rate.values()], protocol, study, table)
    chosen: list[Job] = []
    for make, seeds, by_rate in zip(makers, seeds_of, tried, strict=True):
        top1 = {rate: rows[job.name]["val_top1"] for rate, job in by_rate.items()}
        best = max(top1, key=top1.__getitem__)
        chosen += [make(best, seed, True) for seed in seeds]
    _complete(name, chosen, protocol, study, table)


def _floats(protocol: Protocol, random: bool = False) -> list[Maker]:
    """The float networks of the paper's rows, trained for the epochs of every method."""
    kinds = {protocol.float_start(f"w{w}a{a}", 0).name: f"w{w}a{a}" for w, a in ROWS}
    return [partial(protocol.float_more, name, random=random) for name in kinds.values()]


def rows(protocol: Protocol, study: Study) -> None:
    """The paper's twelve rows from a float checkpoint; `slb` chooses its optimizer as its rivals do."""
    searches = {row: partial(protocol.search, row) for row in ROWS}
    paired = [searches.pop(row) for row in PAIRED_ROWS]
    _complete_with_best("rows", [*_floats(protocol), *searches.values()], protocol, study, paired)
    shown = {f"W{bits}": replace(protocol.run_of((bits, 32), protocol.seeds[0]), test=False) for bits in (1, 2, 4)}
    if all(result_of(job, study.folder) for job in shown.values()):
        epochs = {name: results.epochs(job, study.folder) for name, job in shown.items()}
        write_json(epochs, results.RESULTS / f"{protocol.key}_search.json")


def random_rows(protocol: Protocol, study: Study) -> None:
    """The same from random weights and logits."""
    searches = [partial(protocol.search, row, random=True) for row in ROWS]
    _complete_with_best("random", [*_floats(protocol, random=True), *searches], protocol, study)


def distilled(protocol: Protocol, study: Study) -> None:
    """Rows with distillation from the float network, and with the shipped descent where inputs are not quantized."""
    makers = [partial(protocol.distilled_by_mirror, row) for row in PAIRED_ROWS]
    makers += [partial(protocol.distilled, row) for row in DISTILLED_ROWS]
    _complete_with_best("distilled", makers, protocol, study)


def rivals(protocol: Protocol, study: Study) -> None:
    """Every rival with its own best learning rate, some with distillation as well."""
    makers = [partial(protocol.rival, method) for method in METHODS if method not in PAIRED_METHODS]
    makers += [partial(protocol.rival, method, distilled=True) for method in DISTILLED_METHODS]
    paired = [partial(protocol.rival, method) for method in PAIRED_METHODS]
    _complete_with_best("rivals", makers, protocol, study, paired)


def epochs(protocol: Protocol, study: Study) -> None:
    """How soon the search is good: whole runs of fewer epochs from the float checkpoint."""
    jobs = [
        protocol.short_run(bits, seed, count, rate)
        for bits in (1, 2, 4)
        for rate in (None, SLOW_LOGITS)
        for count in sorted({max(1, protocol.epochs // 4), max(1, protocol.epochs // 2), protocol.epochs})
        if rate or count < protocol.epochs  # what is shipped is among the rows
        for seed in protocol.seeds
    ]
    fewest = max(1, protocol.epochs // 4)
    jobs += [protocol.reconstructed_run(bits, seed, fewest) for bits in (1, 2, 4) for seed in protocol.seeds]
    _complete("epochs", jobs, protocol, study)


def mixed(protocol: Protocol, study: Study) -> None:
    """Bits chosen by sensitivity beside uniform bits of the same size."""
    jobs = [job for bits in (2, 3) for seed in protocol.seeds for job in protocol.equal_bytes(bits, seed)]
    _complete("mixed", jobs, protocol, study)
    start = protocol.float_start("w2a32", protocol.seeds[0])
    run_jobs([start], study)
    sensitivities = worker.sensitivities(start, study.folder, study.data)
    write_json(sensitivities, results.RESULTS / f"{protocol.key}_sensitivity.json")


def one_change_at_a_time(protocol: Protocol, study: Study) -> None:
    """The ablation, on validation accuracy alone."""
    jobs = [job for bits in (1, 2) for job in ablation.variants(protocol, bits, protocol.seeds)]
    _complete("ablation", jobs, protocol, study)


TABLES: dict[str, Callable[[Protocol, Study], None]] = {
    "rows": rows,
    "distilled": distilled,
    "random": random_rows,
    "rivals": rivals,
    "epochs": epochs,
    "mixed": mixed,
    "ablation": one_change_at_a_time,
    "report": lambda protocol, study: report.write(protocol),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point; the same command continues what an interrupted one left."""
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
    add("--more-seeds", type=int, default=3, help="further seeds of what is compared in pairs")
    add("--processes", type=int, default=2, help="runs at a time, one thread each")
    add("--workers", type=int, default=0, help="processes that load images for each run (ImageNet)")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--rivals-python", type=Path, default=Path(".venv-rivals/bin/python"), help="Python of the rivals' environment")
    arguments = parser.parse_args(argv)
    seeds = tuple(range(arguments.seeds + arguments.more_seeds))
    protocol = Protocol(
        arguments.network, arguments.dataset, arguments.epochs, seeds[: arguments.seeds], seeds[arguments.seeds :]
    )
    known = sorted(RECIPES.starts)
    if protocol.key not in known:
        parser.error(f"--network, --dataset: received '{protocol.key}'; recipes exist for {', '.join(known)}")
    study = Study(
        arguments.work / protocol.key, arguments.data, arguments.device, arguments.processes, arguments.rivals_python,
        workers=arguments.workers,
    )  # fmt: skip
    try:
        for table in arguments.tables:
            TABLES[table](protocol, study)
    except (FailedJobsError, MissingEnvironmentError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the same command continues each run after its last completed epoch.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
