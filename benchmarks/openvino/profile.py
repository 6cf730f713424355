"""Where the time of one IR goes: the plugin's own profile, summed over nodes of one kind and kernel.

python -m benchmarks.openvino.profile model.xml --threads 1      (ONEDNN_MAX_CPU_ISA=AVX2 shows another processor)
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import openvino as ov

from nncf_slb.openvino.ir import compile_ir, read_ir, with_batch
from nncf_slb.tables import markdown_table

_WARM_UP, _ROUNDS = 5, 50


def profile(path: Path, threads: int) -> list[tuple[str, str, int, float]]:
    """Kind, kernel, number of nodes and milliseconds (mean of 50 inferences, batch 1), the longest first."""
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}
    compiled = compile_ir(with_batch(read_ir(path), 1), "CPU", settings)
    request, generator = compiled.create_infer_request(), np.random.default_rng(0)
    inputs = [generator.standard_normal(list(port.get_shape())).astype(np.float32) for port in compiled.inputs]
    times: Counter[tuple[str, str]] = Counter()
    nodes: dict[tuple[str, str], set[str]] = {}
    for index in range(_WARM_UP + _ROUNDS):
        request.infer(inputs)
        for node in request.profiling_info if index >= _WARM_UP else ():
            if node.status == ov.ProfilingInfo.Status.EXECUTED:
                key = node.node_type, node.exec_type
                times[key] += node.real_time.total_seconds() * 1e3 / _ROUNDS
                nodes.setdefault(key, set()).add(node.node_name)
    return [(*key, len(nodes[key]), time) for key, time in times.most_common()]


def markdown(path: Path, threads: int) -> str:
    """The profile as a table, with its sum."""
    rows = profile(path, threads)
    lines = [[kind, kernel, count, f"{time:.2f}"] for kind, kernel, count, time in rows if time >= 0.005]
    lines.append(["sum", "", "", f"{sum(row[3] for row in rows):.2f}"])
    return markdown_table(["node", "kernel", "nodes", "ms"], lines, "llrr")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ir", type=Path, help=".xml file")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(markdown(arguments.ir, arguments.threads))
    return 0


if __name__ == "__main__":
    sys.exit(main())
