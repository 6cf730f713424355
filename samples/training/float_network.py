"""Float networks: weights to begin from, and the file to compare with."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from nncf_slb.openvino.export import save_ir
from samples.training import checkpoint
from samples.training.state import network_problems


def load_weights(network: nn.Module, path: Path) -> None:
    """Take the weights of a float network from a checkpoint.

    Raises:
        CheckpointError: If they are not of this network, in one line that names what is wrong.
    """
    found = checkpoint.load(path)["model"]
    problems = network_problems(found, network)
    if problems:
        raise checkpoint.refused(path, [*problems[:2], "--weights takes a float run of the same network"])
    network.load_state_dict(found)


def export_float(model: nn.Module, path: Path, example: Tensor, shape: list[int] | None = None) -> Path:
    """OpenVINO IR of a float network; -1 in its input's `shape` is any size, by default that of the batch."""
    import openvino as ov

    model.eval()
    shape = shape or [-1, *example.shape[1:]]
    converted = ov.convert_model(model, example_input=example, input=[ov.PartialShape(shape)])
    save_ir(converted, path)
    return path
