"""File of a search that goes on after an interruption."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nncf_slb.errors import SettingError
from nncf_slb.files import check_archive, new_file, remove_leftovers
from nncf_slb.search.outputs import floating_outputs
from nncf_slb.search.reconstruction import Reconstruction
from nncf_slb.search.unlabeled import Unlabeled

logger = logging.getLogger("nncf_slb")

_SECONDS = 30.0
_SAME = 0.01  # distance of the outputs of one network on two machines, beside the outputs


@contextmanager
def noted_interrupt() -> Iterator[threading.Event]:
    """Within it, Ctrl-C sets an event in place of raising, so that no step ends halfway; in the main thread only."""
    interrupt = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, lambda *_: interrupt.set())
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


class Origin(NamedTuple):
    """What a search began with.

    Attributes:
        digest: Tells the numbers of the float network and the samples from others.
        outputs: Of the float network for the first sample, ``[numbers]``: two networks may have the same parameters.
    """

    digest: str
    outputs: Tensor

    @staticmethod
    @torch.no_grad()
    def of(network: nn.Module, samples: Unlabeled, run: Callable[[nn.Module, Any], Any]) -> Origin:
        """Of a network in eval mode; `run` runs it on a batch."""
        outputs = [x.detach().cpu().float().flatten() for x in floating_outputs(run(network, samples.sample))]
        return Origin(_digest(network, samples), torch.cat(outputs))

    def is_that_of(self, said: Any) -> bool:
        """Whether a file of a search says the same; outputs differ a little between machines."""
        digest, outputs = said["origin"], said["outputs"]
        if digest != self.digest or outputs.shape != self.outputs.shape:
            return False
        return float((outputs - self.outputs).norm()) <= _SAME * float(self.outputs.norm())


def _digest(network: nn.Module, samples: Unlabeled) -> str:
    numbers = hashlib.blake2b(digest_size=16)
    tensors = [*network.named_parameters(), *network.named_buffers(), *(("", x) for x in samples.tensors)]
    for name, tensor in tensors:
        numbers.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        numbers.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return numbers.hexdigest()


class SearchFile:
    """Saves a reconstruction from time to time, complete or not at all.

    Args:
        path: The file; None for none.
        settings: What must be the same when the search goes on.
        origin: Float network and samples, which must be the same too; None where there is no path.
    """

    def __init__(self, path: str | os.PathLike[str] | None, settings: str, origin: Origin | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._settings, self._origin = settings, origin
        self._saved = time.monotonic()

    def done(self) -> int:
        """Steps that the file has behind it; 0 without one.

        Raises:
            SettingError: As `load`.
        """
        search = self._read()
        step = 0 if search is None else search.get("step")
        return step if isinstance(step, int) else 0

    def load(self, training: Reconstruction) -> None:
        """Go on from the file, if there is one.

        Raises:
            SettingError: If it is not a file of a search with these settings.
        """
        search = self._read()
        if search is None:
            return
        try:
            training.load_state_dict(search)
        except Exception as error:  # what is wrong inside makes torch fail in any way
            raise SettingError(
                f"checkpoint: received {self._path}, which is damaged or of a search of another network "
                f"({type(error).__name__}: {str(error).splitlines()[0]}); allowed is the same network. Use another "
                "name, or remove the file"
            ) from error

    def _read(self) -> dict[str, Any] | None:
        """State of the search in the file; None without one."""
        if self._path is None:
            return None
        remove_leftovers(self._path.parent, self._path.name)
        if not self._path.exists():
            return None
        try:
            check_archive(self._path)
            state: dict[str, Any] = torch.load(self._path, weights_only=True)
            settings, search = state["settings"], dict(state["search"])
            fits = self._origin is None or self._origin.is_that_of(state)
        except Exception as error:  # bytes that are no checkpoint make torch's reader fail in any way
            raise SettingError(
                f"checkpoint: received {self._path}, which is no file of a search without labels "
                f"({type(error).__name__}); allowed is a file that such a search wrote, or a new name"
            ) from error
        if settings != self._settings:
            raise SettingError(
                f"checkpoint: received {self._path}, of a search with other settings ({settings}); allowed are the "
                f"same ({self._settings}). Use another name, or remove the file"
            )
        if not fits:
            raise SettingError(
                f"checkpoint: received {self._path}, of a search of another network or of other images; allowed are "
                "the same ones. Use another name, or remove the file"
            )
        return search

    def _said(self) -> dict[str, Any]:
        if self._origin is None:
            return {"settings": self._settings}
        return {"settings": self._settings, "origin": self._origin.digest, "outputs": self._origin.outputs}

    def save(self, training: Reconstruction, now: bool = False) -> None:
        """Write the file if it is time to, or `now`; where it cannot be written, say so: the search is worth more."""
        if self._path is None or not (now or time.monotonic() - self._saved >= _SECONDS):
            return
        try:
            with new_file(self._path) as partial:
                torch.save({**self._said(), "search": training.state_dict()}, partial)
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            logger.warning(
                "slb: checkpoint %s cannot be written (%s); the search goes on, and the former file stays. Make room",
                self._path, reason,
            )  # fmt: skip
        finally:
            self._saved = time.monotonic()
