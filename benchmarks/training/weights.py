"""Cost by the number of weights: ``python -m benchmarks.training.weights METHOD WEIGHTS BITS`` prints one JSON object.

A chain of 1x1 convolutions on single pixels, whose activations take next to nothing, so that what is left are weights.
Each measurement is a process of its own, since memory that was used once stays in use.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from nncf import NNCFConfig
from nncf.torch import create_compressed_model
from torch import nn

_LAYERS = 4
_STEPS = 6


def measure(method: str, weights: int, bits: int) -> dict[str, Any]:
    """Create and train for a few steps.

    Args:
        method: ``float``, ``slb``, or ``slb without mean``.
        weights: Weights of the network.
        bits: Bits of each.

    Returns:
        Seconds of creation and of a step, and the peak of the memory beyond what stood before the network, in bytes.
    """
    width = int(math.sqrt(weights / _LAYERS))
    before = _peak_from_now()
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(*(nn.Conv2d(width, width, 1, bias=False) for _ in range(_LAYERS)))
    started = time.perf_counter()
    if method != "float":
        section = {
            "algorithm": "slb", "weights": {"bits": bits}, "params": {"epochs": 2, "steps_per_epoch": _STEPS},
            "openvino": {"dry_export": False},
        }  # fmt: skip
        if method == "slb without mean":
            section["params"]["average"] = "none"
        config = {"input_info": {"sample_size": [1, width, 1, 1]}, "compression": section}
        ctrl, model = create_compressed_model(model, NNCFConfig.from_dict(config), dump_graphs=False)
        ctrl.scheduler.epoch_step()
    created = time.perf_counter() - started
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-3)
    x = torch.randn(8, width, 1, 1)
    model.train()
    times = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        if method != "float":
            ctrl.scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        model(x).square().mean().backward()
        optimizer.step()
        times.append(time.perf_counter() - started)
    count = _LAYERS * width * width
    peak = _peak() - before
    return {
        "method": method, "bits": bits, "weights": count, "create_s": created, "step_s": sorted(times)[_STEPS // 2],
        "peak_bytes": peak, "peak_in_weights": peak / (4 * count),
    }  # fmt: skip


def _peak_from_now() -> int:
    """Let the peak begin anew (Linux): at first it is that of the process that started this one. Returns it."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    method, weights, bits = sys.argv[1:]
    print(json.dumps(measure(method, int(weights), int(bits))))
