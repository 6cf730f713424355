"""One network at one pair of bits: searched for two steps, exported, and compared with PyTorch.

It has a process of its own, which may crash: PyTorch and OpenVINO are given what they have never seen.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nncf_slb  # first: it prepares NNCF's environment

# isort: split
import torch
from nncf import NNCFConfig
from nncf.torch import create_compressed_model
from torch import Tensor, nn

from benchmarks.zoo.networks import NETWORKS, Input, Network
from nncf_slb.hosts.quiet import quieten
from nncf_slb.openvino.call_form import flat_outputs

FLOAT = 32
RESULTS = "results.jsonl"
REFUSED, FAILED, WRONG, EXPORTED = "refused", "failed", "wrong", "exported"
_STEPS, _TRAINED_ON, _COMPARED_ON = 2, 4, 16
_STRIPPED_TOLERANCE = 1e-4
_LONGEST_REASON = 400


@dataclass
class Row:
    """What became of a network at a pair of bits.

    Attributes:
        network: Its name.
        bits: Bits of its weights.
        activations: Bits of its activations, 32 for floats.
        commit: Of this package.
        outcome: ``exported``, ``refused`` (before training, with a remedy), ``failed`` or ``wrong`` (not what PyTorch
            computes).
        stage: What it was last busy with.
        reason: Why it is not exported.
        searched: Weights searched.
        share: Their share of all weights: numbers in parameters of two dimensions or more.
        stripped: Largest difference of what ``strip()`` gives from the searched network, relative as the next.
        relative: Largest difference of the file as exported, in units of PyTorch's largest value.
        agreement: Least share of equal classes of all outputs that have some.
        by_rounding: Whether what is beyond the tolerance is a matter of rounding.
        bin_bytes: Size of the ``.bin``.
        seconds: From its making to the comparison.
        trained: Whether the steps of training were made.
    """

    network: str
    bits: int
    activations: int
    commit: str
    outcome: str = FAILED
    stage: str = "build"
    reason: str = ""
    searched: int = 0
    share: float = 0.0
    stripped: float | None = None
    relative: float | None = None
    agreement: float | None = None
    by_rounding: bool = False
    bin_bytes: int = 0
    seconds: float = 0.0
    trained: bool = True

    @property
    def pair(self) -> str:
        """Such as W2A32."""
        return f"W{self.bits}A{self.activations}"


def append(row: Row, file: Path) -> None:
    """Add a line to a file of rows in one piece, so that processes side by side do not mix theirs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{json.dumps(asdict(row))}\n".encode())
    finally:
        os.close(descriptor)


def try_network(network: Network, row: Row, folder: Path, trained: bool = True) -> Row:
    """Fill a row in.

    Args:
        network: What to search.
        row: Says the bits; gets everything else.
        folder: For the files.
        trained: Whether to make the steps of training.
    """
    start = time.perf_counter()
    row.trained = trained
    try:
        _run(network, row, folder)
    except Exception as error:
        traceback.print_exc()
        before_training = row.stage == "create" and isinstance(error, nncf_slb.SLBError)
        row.outcome = REFUSED if before_training else FAILED
        kind = "" if isinstance(error, nncf_slb.SLBError) else f"{type(error).__name__}: "
        row.reason = f"{kind}{_short(str(error))}"
    row.seconds = round(time.perf_counter() - start, 1)
    return row


def _run(network: Network, row: Row, folder: Path) -> None:
    torch.manual_seed(0)
    numbers = torch.Generator().manual_seed(0)
    model = network.build()
    row.share = _numbers_in_weights(model)
    row.stage = "run"
    _run_float(model, network.inputs)
    row.stage = "create"
    all_weights = row.share
    nncf_config = NNCFConfig.from_dict(config(network, row))
    ctrl, model = create_compressed_model(model, nncf_config, dump_graphs=False)
    row.searched = sum(layer.weights for layer in ctrl.statistics().slb.layers)
    row.share = row.searched / max(1, all_weights)
    row.stage = "train"
    if row.trained:
        _train(model, network.inputs, numbers)
    row.stage = "strip"
    data = tuple(each.data(_COMPARED_ON, numbers) for each in network.inputs)
    row.stripped = _difference(model.eval(), ctrl.strip().eval(), network.inputs, data)
    row.stage = "export"
    path = nncf_slb.export_openvino(ctrl, folder / f"{network.name}_{row.pair}.xml")
    row.bin_bytes = path.with_suffix(".bin").stat().st_size
    row.stage = "verify"
    verified = nncf_slb.verify_openvino(ctrl, path, data)
    print(verified.to_str())
    row.relative = max(output.relative for output in verified.outputs)
    agreements = [output.agreement for output in verified.outputs if output.agreement is not None]
    row.agreement = min(agreements, default=None)
    row.by_rounding = verified.by_rounding
    row.outcome = EXPORTED if verified.passed and row.stripped <= _STRIPPED_TOLERANCE else WRONG
    if not verified.passed:
        row.reason = _short(verified.to_str().splitlines()[-1])
    elif row.outcome == WRONG:
        row.reason = f"what strip() gives differs from the searched network by {row.stripped:.1e}"


def config(network: Network, row: Row) -> dict[str, Any]:
    """Config of a search."""
    section: dict[str, Any] = {"algorithm": "slb", "weights": {"bits": row.bits}}
    if row.activations != FLOAT:
        section["activations"] = {"bits": row.activations}
    if network.ignored_scopes:
        section["ignored_scopes"] = list(network.ignored_scopes)
    return {"input_info": [each.info() for each in network.inputs], "compression": section}


def _numbers_in_weights(model: nn.Module) -> int:
    return sum(each.numel() for each in model.parameters() if each.dim() > 1)


def _call(model: nn.Module, inputs: tuple[Input, ...], data: tuple[Tensor, ...]) -> list[Tensor]:
    """Outputs of a network that are floats."""
    args = [tensor for each, tensor in zip(inputs, data, strict=True) if each.keyword is None]
    kwargs = {each.keyword: tensor for each, tensor in zip(inputs, data, strict=True) if each.keyword is not None}
    return [each for each in flat_outputs(model(*args, **kwargs)).values() if each.is_floating_point()]


@torch.no_grad()
def _run_float(model: nn.Module, inputs: tuple[Input, ...]) -> None:
    """One pass of the network as it came: what it cannot do itself is no refusal of the search."""
    numbers = torch.Generator().manual_seed(0)
    training = model.training
    _call(model.eval(), inputs, tuple(each.data(1, numbers) for each in inputs))
    model.train(training)


@torch.no_grad()
def _difference(ours: nn.Module, other: nn.Module, inputs: tuple[Input, ...], data: tuple[Tensor, ...]) -> float:
    """Largest difference of two networks, in units of the first one's largest value."""
    pairs = zip(_call(ours, inputs, data), _call(other, inputs, data), strict=True)
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-12)) for a, b in pairs)


def _train(model: nn.Module, inputs: tuple[Input, ...], numbers: torch.Generator) -> None:
    model.train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(_STEPS):
        outputs = _call(model, inputs, tuple(each.data(_TRAINED_ON, numbers) for each in inputs))
        optimizer.zero_grad()
        torch.stack([each.square().sum() for each in outputs]).sum().backward()
        optimizer.step()


def _short(text: str) -> str:
    """Lines of an error as one; of a long one its beginning and its end, where the remedy stands."""
    whole, half = " ".join(text.split()), _LONGEST_REASON // 2
    return whole if len(whole) <= _LONGEST_REASON else f"{whole[:half]} ... {whole[-half:]}"


def work(row: Row, folder: Path, trained: bool, log: Path) -> None:
    """Add a row to ``results.jsonl`` of a folder: what a process of its own does.

    Args:
        row: Says network and bits.
        folder: For the files and the results.
        trained: Whether to make the steps of training.
        log: What is printed goes there.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    quieten()
    torch.set_num_threads(1)
    append(try_network(NETWORKS[row.network], row, folder / "files", trained), folder / RESULTS)
    sys.stdout.flush()
