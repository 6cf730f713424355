"""Networks to measure: float, 8-bit by NNCF's post-training quantization, and searched ones from the recipes.

Speed and size depend on shapes and kernels, not on what a network has learned, so all start from random weights.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nncf_slb  # first: it prepares NNCF's environment

# isort: split
import nncf
import openvino as ov
import torch
from nncf import NNCFConfig
from nncf.torch import create_compressed_model, register_default_init_args
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nncf_slb.openvino.ir import read_ir
from samples.classification.models import MODELS
from samples.training.float_network import export_float

_BATCHES, _BATCH = 4, 2


def noise(shape: list[int]) -> DataLoader:
    """Batches of normal noise of one sample's shape, with labels."""
    images = torch.randn(_BATCHES * _BATCH, *shape, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(images, torch.zeros(len(images), dtype=torch.long)), batch_size=_BATCH)


def random_network(config: dict[str, Any]) -> nn.Module:
    """Network of a config with random weights, and batch norm statistics of noise."""
    torch.manual_seed(0)
    network = MODELS[config["model"]](num_classes=config["num_classes"], **config.get("model_params", {}))
    network.train()
    with torch.no_grad():
        for images, _ in noise(_shape(config)):
            network(images)
    return network.eval()


def _shape(config: dict[str, Any]) -> list[int]:
    shape: list[int] = config["input_info"]["sample_size"][1:]
    return shape


def export_reference(config: dict[str, Any], folder: Path, prefix: str = "") -> tuple[Path, Path]:
    """Float IR and NNCF's 8-bit IR of a config's network."""
    shape = _shape(config)
    float_ir = export_float(random_network(config), folder / f"{prefix}float.xml", torch.zeros(1, *shape))
    dataset = nncf.Dataset([images.numpy() for images, _ in noise(shape)])
    quantized = nncf.quantize(read_ir(float_ir), dataset, subset_size=_BATCHES)
    quantized_ir = folder / f"{prefix}nncf_int8.xml"
    ov.save_model(quantized, quantized_ir, compress_to_fp16=False)
    return float_ir, quantized_ir


def searched_controller(config: dict[str, Any], bits: int | None = None) -> Any:
    """Controller of a config's network before its search; `bits` replaces those of its weights."""
    config = copy.deepcopy(config)
    if bits is not None:
        next(each for each in config["compression"] if each["algorithm"] == "slb")["weights"]["bits"] = bits
    settings = {key: config[key] for key in ("input_info", "compression", "target_device") if key in config}
    nncf_config = register_default_init_args(NNCFConfig.from_dict(settings), noise(_shape(config)))
    controller, model = create_compressed_model(random_network(config), nncf_config, dump_graphs=False)
    model.eval()
    return controller


@dataclass(frozen=True)
class Export:
    """What an export cost and gave.

    Attributes:
        ir: Name of the file.
        seconds: Time of the export.
        megabytes: Peak memory of the process meanwhile, beyond what was in use before.
        bin_bytes: Size of the ``.bin``.
        weight_bytes: Bytes of all weights at the bits that they are stored in.
        arithmetic_bytes: The same, and 4 bytes for each scale and each shift of an output channel.
        searched: Searched layers.
        low_precision: Those of them that run in int8 or binary.
    """

    ir: str
    seconds: float
    megabytes: float
    bin_bytes: int
    weight_bytes: int
    arithmetic_bytes: int
    searched: int
    low_precision: int


def export_searched(controller: Any, path: Path, **settings: Any) -> Export:
    """Export and look at the result."""
    before, start = _forget_peak(), time.perf_counter()
    nncf_slb.export_openvino(controller, path, **settings)
    seconds, megabytes = time.perf_counter() - start, _megabytes("VmHWM") - before
    inspection = nncf_slb.inspect_openvino(path)
    weights = sum(-(-each.weights * int(each.stored[1:]) // 8) for each in inspection.layers)
    channels = sum(_output_channels(controller, each.name) for each in inspection.layers)
    searched = [each for each in inspection.layers if each.searched]
    low = sum(each.precision in ("u8", "i8", "u1") for each in searched)
    return Export(
        path.stem, seconds, megabytes, inspection.bin_bytes, weights, weights + 2 * 4 * channels, len(searched), low
    )  # fmt: skip


def _output_channels(controller: Any, name: str) -> int:
    """Output channels of a layer by the name that `inspect_openvino` gives it."""
    module = controller.model.get_submodule(name.removeprefix("before "))
    return int(module.num_features) if isinstance(module, nn.BatchNorm2d) else int(module.weight.shape[0])


def _forget_peak() -> float:
    """Make Linux forget the process's peak memory; returns the megabytes in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return _megabytes("VmRSS")


def _megabytes(field: str) -> float:
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(field))
    return int(line.split()[1]) / 1024


class OneLinear(nn.Module):
    """One square Linear layer without bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[batch, width]``."""
        result: torch.Tensor = self.linear(x)
        return result


def export_linear(width: int, folder: Path) -> list[Path]:
    """Float IR, NNCF's 8-bit weight compression, and W1 to W4 without and with rounding of the inputs at run time."""
    torch.manual_seed(0)
    layer = OneLinear(width)
    paths = [export_float(layer, folder / "linear_float.xml", torch.zeros(1, width))]
    compressed = nncf.compress_weights(read_ir(paths[0]))
    paths.append(folder / "linear_nncf_int8.xml")
    ov.save_model(compressed, paths[-1], compress_to_fp16=False)
    for bits in (1, 2, 3, 4):
        section = {"algorithm": "slb", "weights": {"bits": bits}, "initializer": {"batchnorm_adaptation": None}}
        config = NNCFConfig.from_dict({"input_info": {"sample_size": [1, width]}, "compression": section})
        controller, model = create_compressed_model(copy.deepcopy(layer), config, dump_graphs=False)
        model.eval()
        for linear, name in (("exact", ""), ("fastest", "_dynamic")):
            paths.append(folder / f"linear_w{bits}{name}.xml")
            nncf_slb.export_openvino(controller, paths[-1], linear=linear)
    return paths
