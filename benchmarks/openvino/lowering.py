"""Which kernel runs each kind of layer for each pair of weight and activation bits, and how exactly.

python -m benchmarks.openvino.lowering docs/openvino.md    rewrites the table between the two markers of that file
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import nncf_slb  # first: it prepares NNCF's environment

# isort: split
import torch
from nncf import NNCFConfig
from nncf.torch import create_compressed_model, register_default_init_args
from nncf.torch.initialization import PTInitializingDataLoader
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.documents import write_between_markers
from nncf_slb.hosts.quiet import quieten
from nncf_slb.openvino.ir import device_name
from nncf_slb.tables import markdown_table

WEIGHTS = (1, 2, 3, 4)
ACTIVATIONS = (1, 2, 4, 8, 32)
_CHANNELS, _SIZE, _SAMPLES = 64, 14, 16
KINDS = {
    "conv": "Conv2d",
    "strided": "Conv2d, stride 2",
    "dilated": "Conv2d, dilation 2",
    "grouped": "Conv2d, 4 groups",
    "depthwise": "Conv2d, depthwise",
    "transposed": "ConvTranspose2d, stride 2",
    "conv1d": "Conv1d",
    "linear": "Linear",
}
_FLOAT = {"INFERENCE_PRECISION_HINT": "f32"}


class EveryLayer(nn.Module):
    """One layer of each kind, each with an output of its own.

    The transposed convolution has an image of its own: beside other convolutions of one signed input, the CPU plugin
    runs it in float32 (measured with OpenVINO 2026.4.1), which does not happen in a network where it stands alone.
    """

    def __init__(self) -> None:
        super().__init__()
        n = _CHANNELS
        self.conv = nn.Conv2d(n, n, 3, padding=1)
        self.strided = nn.Conv2d(n, n, 3, stride=2, padding=1)
        self.dilated = nn.Conv2d(n, n, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(n, n, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(n, n, 3, padding=1, groups=n)
        self.transposed = nn.ConvTranspose2d(n, n, 2, stride=2)
        self.conv1d = nn.Conv1d(n, n, 3, padding=1)
        self.linear = nn.Linear(n, n)

    def forward(self, image: Tensor, other: Tensor, sequence: Tensor, vector: Tensor) -> tuple[Tensor, ...]:
        """Outputs in the order of `KINDS`."""
        inputs = {"transposed": other, "conv1d": sequence, "linear": vector}
        return tuple(getattr(self, name)(inputs.get(name, image)) for name in KINDS)


@dataclass(frozen=True)
class Cell:
    """One layer of one pair."""

    kind: str
    weights: int
    activations: int
    stored: str
    kernel: str
    precision: str
    difference: float
    mean: float

    def to_str(self) -> str:
        """Stored type, kernel, largest difference."""
        return f"{self.stored} `{self.kernel}` {self.difference:.0e}"


def samples(seed: int) -> tuple[Tensor, ...]:
    """Normal noise for the inputs."""
    generator = torch.Generator().manual_seed(seed)
    image = (_CHANNELS, _SIZE, _SIZE)
    shapes = (image, image, image[:2], image[:1])
    return tuple(torch.randn(_SAMPLES, *shape, generator=generator) for shape in shapes)


def searched(weights: int, activations: int) -> object:
    """Controller of the network before its search, with the discrete weights nearest to random ones."""
    torch.manual_seed(0)
    data = samples(seed=0)
    loader = DataLoader(TensorDataset(*data, torch.zeros(_SAMPLES)), batch_size=_SAMPLES)
    section = {"algorithm": "slb", "weights": {"bits": weights}, "activations": {"bits": activations}}
    config = NNCFConfig.from_dict(
        {
            "input_info": [{"sample_size": [1, *x.shape[1:]]} for x in data],
            "compression": section,
        }
    )
    config = register_default_init_args(config, _Inputs(loader))
    return create_compressed_model(EveryLayer(), config, dump_graphs=False)[0]


class _Inputs(PTInitializingDataLoader):
    """NNCF takes the first of a batch as the only input; here all but the last are inputs."""

    def get_inputs(self, batch: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Positional and keyword arguments of the network."""
        return tuple(batch[:-1]), {}

    def get_target(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Labels, which nobody looks at."""
        return batch[-1]


def measure(weights: int, activations: int, folder: Path) -> list[Cell]:
    """Export one pair, see what runs and compare."""
    controller = searched(weights, activations)
    path = nncf_slb.export_openvino(controller, folder / f"w{weights}a{activations}.xml")
    layers = {layer.name: layer for layer in nncf_slb.inspect_openvino(path, properties=_FLOAT).layers}
    verified = nncf_slb.verify_openvino(controller, path, samples(seed=1), properties=_FLOAT)
    cells = []
    for (name, kind), output in zip(KINDS.items(), verified.outputs, strict=True):
        layer = layers[name]
        kernel = layer.kernel.rpartition(" ")[2]
        cells.append(
            Cell(kind, weights, activations, layer.stored, kernel, layer.precision, output.largest, output.mean)
        )
    return cells


def table(cells: list[Cell]) -> str:
    """Markdown: a row for each kind and activation width, a column for each weight width."""
    found = {(cell.kind, cell.activations, cell.weights): cell for cell in cells}
    rows = [
        [kind, bits, *(found[kind, bits, w].to_str() for w in WEIGHTS)]
        for kind in KINDS.values()
        for bits in ACTIVATIONS
    ]
    return markdown_table(["layer", "A", *(f"W{w}" for w in WEIGHTS)], rows, "lr" + "l" * len(WEIGHTS))


def main() -> int:
    """Measure every pair and rewrite the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="Markdown file with the two markers")
    arguments = parser.parse_args()
    quieten()
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as folder:
        for weights in WEIGHTS:
            for activations in ACTIVATIONS:
                cells += measure(weights, activations, Path(folder))
                print(f"W{weights}A{activations}", flush=True)
    head = f"{device_name('CPU')}, {date.today()}, `python -m benchmarks.openvino.lowering docs/openvino.md`\n"
    write_between_markers(arguments.file, "lowering table", f"{head}\n{table(cells)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
