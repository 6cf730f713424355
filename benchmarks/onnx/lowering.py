"""Bytes, kernels, differences and speed of exported ONNX files, for each pair of weight and activation bits.

python -m benchmarks.onnx.lowering docs/onnx.md    rewrites the table between the two markers of that file

Each network is a chain of equal layers. Speed is latency with one thread, batch 1, files in turns: beside the float
network and beside ONNX Runtime's own static 8 bits (QDQ, per channel).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

import nncf_slb
from benchmarks.documents import write_between_markers
from nncf_slb.openvino.ir import device_name
from nncf_slb.tables import markdown_table

WEIGHTS = (1, 2, 3, 4)
ACTIVATIONS = (2, 4, 8, 32)
_SAMPLES = 8


def convolutions() -> tuple[nn.Module, Tensor]:
    """Four 3 x 3 convolutions of 64 channels on 56 x 56."""
    layers = [layer for _ in range(4) for layer in (nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())]
    network = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return network, torch.randn(_SAMPLES, 64, 56, 56)


def linear() -> tuple[nn.Module, Tensor]:
    """Three Linear layers of 1024 x 1024."""
    layers = [layer for _ in range(3) for layer in (nn.Linear(1024, 1024), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(1024, 10)), torch.randn(_SAMPLES, 1024)


NETWORKS = {"4 x Conv2d, 64 channels, 3 x 3, 56 x 56": convolutions, "3 x Linear, 1024 x 1024": linear}


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    """The data that the runtime's own quantization sees."""

    def __init__(self, batch: Tensor) -> None:
        self._left: Iterator[Tensor] = iter(batch.split(1))

    def get_next(self) -> dict[str, Any] | None:
        """The next sample; None behind the last."""
        sample = next(self._left, None)
        return None if sample is None else {"input_0": sample.numpy()}


def searched(network: nn.Module, batch: Tensor, weights: int, activations: int) -> Any:
    """Controller before its search, with the discrete weights nearest to random ones."""
    section = {
        "algorithm": "slb",
        "weights": {"bits": weights, "edges": "search"},
        "activations": {"bits": activations},
        "openvino": {"dry_export": False},
    }
    config = {"epochs": 1, "compression": section}
    loader = [(batch, torch.zeros(len(batch)))]
    return nncf_slb.create_compressed_model(network, config, loader, host="torch")[0]


def reference_files(network: nn.Module, batch: Tensor, folder: Path) -> list[Path]:
    """The float network, and what ONNX Runtime makes of it in 8 bits."""
    full, prepared, eight = (folder / f"{name}.onnx" for name in ("float", "prepared", "eight_bits"))
    axes = {"input_0": {0: "batch"}}
    torch.onnx.export(network.eval(), (batch[:1],), str(full), input_names=["input_0"], dynamic_axes=axes, dynamo=False)
    quant_pre_process(str(full), str(prepared))
    quantize_static(str(prepared), str(eight), _Samples(batch), quant_format=QuantFormat.QDQ, per_channel=True)
    return [full, eight]


def rows(name: str, folder: Path) -> list[list[object]]:
    """Rows of one network."""
    torch.manual_seed(0)
    network, batch = NETWORKS[name]()
    files = reference_files(network, batch, folder)
    labels = ["float", "ONNX Runtime's 8 bits"]
    described: list[Sequence[object]] = [["", "", ""], ["", "", ""]]
    settings = [(w, a, False) for w in WEIGHTS for a in ACTIVATIONS]
    settings += [(w, 32, True) for w in WEIGHTS] if "Linear" in name else []
    for weights, activations, contrib in settings:
        torch.manual_seed(0)
        controller = searched(NETWORKS[name]()[0], batch, weights, activations)
        path = folder / f"w{weights}a{activations}{'c' * contrib}.onnx"
        nncf_slb.export_openvino(controller, path, onnx_contrib=contrib)
        layer = nncf_slb.inspect_onnx(path).layers[1]
        verified = nncf_slb.verify_onnx(controller, path, batch)
        files.append(path)
        labels.append(f"W{weights}A{activations}{', contrib' * contrib}")
        described.append([layer.stored, f"`{layer.kernel}`", f"{verified.outputs[0].relative:.0e}"])
        print(name, labels[-1], layer.kernel, verified.passed, flush=True)
    timings = nncf_slb.benchmark_files(files, threads=1, rounds=25).timings
    eight = timings[1].latency_ratio.median
    return [
        [name, label, *cells, f"{os.path.getsize(path):,}", f"{t.latency.median:.2f}", f"{t.latency_ratio.median:.2f}",
         f"{t.latency_ratio.median / eight:.2f}"]
        for label, cells, path, t in zip(labels, described, files, timings, strict=True)
    ]  # fmt: skip


def main() -> int:
    """Measure every pair and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="Markdown file with the two markers")
    parser.add_argument("--note", default="", help="what else to say of the machine")
    arguments = parser.parse_args()
    np.random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        table = [row for name in NETWORKS for row in rows(name, Path(folder))]
    header = ["network", "bits", "stored", "kernel", "difference", "bytes", "ms", "to float", "to 8 bits"]
    machine = f"{device_name('CPU')}, {os.cpu_count()} cores, ONNX Runtime {onnxruntime.__version__}, {date.today()}"
    head = f"{machine}{arguments.note}, `python -m benchmarks.onnx.lowering {arguments.file}`\n"
    write_between_markers(
        arguments.file, "onnx table", f"{head}\n{markdown_table(header, table, 'lllcrrrrr'.replace('c', 'l'))}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
