"""What a report sets beside the searched network: the float one, nearest values without a search, and the file."""

from __future__ import annotations

import copy
import os.path
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import nncf_slb
from nncf_slb.openvino.network import IrNetwork
from nncf_slb.search.batchnorm import calibrate

if TYPE_CHECKING:
    from samples.training.trainer import Trainer

_CALIBRATION_BATCHES = 20
_VERIFIED_SAMPLES = 64
ROUNDS = 20
FLOAT_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}


def measure_start(trainer: Trainer) -> None:
    """Record the float network that a search begins from, and its nearest values without a search.

    Every process does the same. Random numbers and the network stay as they are.
    """
    if trainer.ctrl is None or trainer.settings.weights is None:
        return
    with torch.random.fork_rng():
        record(trainer, "float", trainer.make_network())
        nearest = copy.deepcopy(trainer.model)
        batches = islice(trainer.loader("train"), _CALIBRATION_BATCHES)
        calibrate(nearest, lambda batch: nearest(batch[0].to(trainer.device)), batches)
        record(trainer, "nearest", nearest)


def record(trainer: Trainer, name: str, network: nn.Module) -> None:
    """Measure a network with the validation part and the test part, and record both scores."""
    with in_place_of(trainer, network):
        scores = {"validation": trainer.evaluate(trainer.loader("val"), f"{name}, validation"), "test": trainer.test()}
    trainer.log.network(name, scores=scores)


def measure_file(trainer: Trainer, path: Path) -> None:
    """Record score, bytes and latency of an exported IR, those of the float network, and how it compares with PyTorch.

    Args:
        trainer: Trainer with the network that was exported.
        path: Its ``.xml`` file.
    """
    inputs = next(iter(trainer.loader("train")))[0][:_VERIFIED_SAMPLES]
    found = nncf_slb.verify_openvino(trainer.ctrl, path, inputs)
    trainer.log.recording.verification(found.to_dict())
    with in_place_of(trainer, _Ir(path)):
        scores = {"test": trainer.test()}
    with tempfile.TemporaryDirectory() as folder:
        files = {"IR": path}
        if trainer.settings.weights is not None:
            files = {"float": trainer.export_float(Path(folder) / "float.xml"), **files}
        shape = [1, *trainer.splits.image_shape] if trainer.any_size else None
        try:
            timings = nncf_slb.benchmark_openvino(
                list(files.values()), rounds=ROUNDS, properties=FLOAT_PRECISION, shape=shape
            ).timings
        except nncf_slb.SLBError:  # a file with a fixed batch, as of binary convolutions
            timings = ()
        for name, timing in zip(files, timings, strict=False):
            trainer.log.network(name, bytes=timing.bin_bytes, milliseconds=timing.latency.median)
    trainer.log.network(
        "IR", scores=scores, bytes=path.with_suffix(".bin").stat().st_size, file=relative(path, trainer)
    )


def relative(path: Path, trainer: Trainer) -> str:
    """A file as seen from the folder of the run, which both may leave together."""
    return Path(os.path.relpath(path, trainer.settings.log_dir)).as_posix()


@contextmanager
def in_place_of(trainer: Trainer, network: nn.Module) -> Iterator[None]:
    """Within it, the trainer evaluates another network."""
    own, trainer.model = trainer.model, network
    try:
        yield
    finally:
        trainer.model = own


class _Ir(nn.Module):
    """An exported IR as a trainer evaluates it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._network = IrNetwork(path, properties=FLOAT_PRECISION)

    def forward(self, inputs: Tensor) -> Any:
        """Outputs of a batch."""
        return self._network(inputs)
