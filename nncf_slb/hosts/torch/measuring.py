"""Rows of the comparison that a search without labels ends with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.errors import SettingError
from nncf_slb.hosts.torch.result import Row
from nncf_slb.openvino.network import IrNetwork
from nncf_slb.search.agreement import agreement
from nncf_slb.search.runtime import CodedWeight
from nncf_slb.search.unlabeled import Unlabeled
from nncf_slb.search.values import packed_size

logger = logging.getLogger("nncf_slb")

Run = Callable[[Any, Any], Any]
Score = Callable[[Any], float]


class Measurement:
    """Measures networks against the float one.

    Args:
        target: Float network in eval mode.
        samples: Samples that the search does not see.
        run: Runs a network on a batch.
        batch: Samples of a batch.
        score: The user's own measure; None for none.
    """

    def __init__(self, target: nn.Module, samples: Unlabeled, run: Run, batch: int, score: Score | None) -> None:
        self._target, self._samples, self._run, self._batch, self._score = target, samples, run, batch, score

    def unit(self, sample: Any) -> str:
        """Unit of the agreement: ``%`` for classes, else ``dB``."""
        run = partial(self._run, self._target)
        return agreement(run, run, [sample]).unit

    def float_row(self) -> Row:
        """The float network itself."""
        return Row("float", None, self._scored(self._target, "float"), weight_bytes(self._target))

    def row(self, name: str, stripped: nn.Module) -> Row:
        """A stripped network."""
        return Row(name, self._agreement(stripped), self._scored(stripped, name), weight_bytes(stripped))

    def row_of_file(self, path: Path) -> Row:
        """An exported IR, loaded from its file."""
        network = IrNetwork(path)
        bytes_of_file = path.with_suffix(".bin").stat().st_size
        return Row(path.name, self._agreement(network), self._scored(network, path.name), bytes_of_file)

    def _agreement(self, network: Any) -> Any:
        run = self._run
        return agreement(partial(run, self._target), partial(run, network), self._samples.in_order(self._batch))

    def _scored(self, network: Any, name: str) -> float | None:
        """What the user's function gives; of a network that the search has made, None where it fails.

        Raises:
            SettingError: If it fails with the float network, before the search.
        """
        if self._score is None:
            return None
        try:
            with torch.no_grad():
                received = self._score(network)
        except Exception as error:  # whatever the user's function raises
            problem = f"failed with the network '{name}' ({type(error).__name__}: {error})"
        else:
            try:
                return float(received)
            except (TypeError, ValueError, RuntimeError):
                problem = f"gives {type(received).__name__} for the network '{name}'"
        if name == "float":
            raise SettingError(f"score: received a function that {problem}; allowed is one that gives a number")
        logger.warning("slb: the score %s, so the report has none", problem)
        return None


def weight_bytes(model: nn.Module) -> int:
    """Bytes of parameters and buffers, codes packed; a weight that several layers share counts once, as in a file."""
    coded = [module for module in model.modules() if isinstance(module, CodedWeight)]
    codes = {id(module.codes): packed_size(module.codes.numel(), module.bits) for module in coded}
    left_out = {id(module.values) for module in coded}
    seen: set[tuple[bytes, bytes]] = set()
    for module in coded:
        content = (_content(module.codes), _content(module.scale))
        if content in seen:
            left_out |= {id(module.codes), id(module.scale)}
        seen.add(content)
    tensors = {id(x): x for x in [*model.parameters(), *model.buffers()] if id(x) not in left_out}
    return sum(codes.get(key, tensor.nbytes) for key, tensor in tensors.items())


def _content(x: Tensor) -> bytes:
    return sha256(repr(x.shape).encode() + x.detach().cpu().numpy().tobytes()).digest()
