"""``nncf-slb benchmark``: latency and throughput of files."""

from __future__ import annotations

import argparse
from pathlib import Path

from nncf_slb.commands.command import GOOD, Command, Result
from nncf_slb.commands.device_options import add_device, add_shape, properties, shape_of


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("ir", type=Path, nargs="+", help=".xml and .onnx files; ratios are to the first")
    add("--batch", type=int, default=1, help="samples in one inference (default: 1)")
    add("--threads", type=int, help="threads that the CPU may use (default: the device's choice)")
    add("--rounds", type=int, default=100, help="rounds that count (default: 100)")
    add_shape(parser)
    add_device(parser)


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    from nncf_slb.onnx.benchmark import benchmark_files

    result = benchmark_files(
        arguments.ir, device=arguments.device, batch=arguments.batch, threads=arguments.threads,
        rounds=arguments.rounds, properties=properties(arguments), shape=shape_of(arguments.shape),
    )  # fmt: skip
    return result, GOOD


COMMAND = Command(
    "benchmark", "latency and throughput of files, measured in turns", "benchmark float.xml model.xml --threads 1",
    _add_arguments, _run,
)  # fmt: skip
