"""File of a search that goes on after an interruption."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nncf_slb.errors import SettingError
from nncf_slb.files import check_archive, new_file, remove_leftovers
from nncf_slb.search.reconstruction import Reconstruction
from nncf_slb.search.unlabeled import Unlabeled

logger = logging.getLogger("nncf_slb")

_SECONDS = 30.0


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


def digest(network: nn.Module, samples: Unlabeled) -> str:
    """What tells a network and its samples from others, in 32 characters."""
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
        origin: Digest of the float network and of the samples, which must be the same too.
    """

    def __init__(self, path: str | os.PathLike[str] | None, settings: str, origin: str = "") -> None:
        self._path = None if path is None else Path(path)
        self._said = {"settings": settings, "origin": origin}
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
            settings, origin, search = state["settings"], state["origin"], dict(state["search"])
        except Exception as error:  # bytes that are no checkpoint make torch's reader fail in any way
            raise SettingError(
                f"checkpoint: received {self._path}, which is no file of a search without labels "
                f"({type(error).__name__}); allowed is a file that such a search wrote, or a new name"
            ) from error
        if settings != self._said["settings"]:
            raise SettingError(
                f"checkpoint: received {self._path}, of a search with other settings ({settings}); allowed are the "
                f"same ({self._said['settings']}). Use another name, or remove the file"
            )
        if origin != self._said["origin"]:
            raise SettingError(
                f"checkpoint: received {self._path}, of a search of another network or of other images; allowed are "
                "the same ones. Use another name, or remove the file"
            )
        return search

    def save(self, training: Reconstruction, now: bool = False) -> None:
        """Write the file if it is time to, or `now`; where it cannot be written, say so: the search is worth more."""
        if self._path is None or not (now or time.monotonic() - self._saved >= _SECONDS):
            return
        try:
            with new_file(self._path) as partial:
                torch.save({**self._said, "search": training.state_dict()}, partial)
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            logger.warning(
                "slb: checkpoint %s cannot be written (%s); the search goes on, and the former file stays. Make room",
                self._path, reason,
            )  # fmt: skip
        finally:
            self._saved = time.monotonic()
