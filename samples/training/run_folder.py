"""The folder of a run: one run at a time, and nothing left in it by runs that were killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nncf_slb.files import remove_leftovers

try:
    import fcntl
except ImportError:  # Windows, where nothing keeps two runs out of one folder
    fcntl = None  # type: ignore[assignment]

_held: dict[Path, int] = {}  # open locks of this process


class FolderError(ValueError):
    """A log folder that cannot be used; the message names it and the remedy."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes' runs out of a folder, which is made, and removed if it stays empty; may be nested.

    The lock is on the folder itself, so it ends with its process however that ends.

    Raises:
        FolderError: If a run of another process holds it, or nothing can be written there.
    """
    place = folder.absolute()
    if place in _held:
        yield
        return
    made = [each for each in (place, *place.parents) if not each.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError("it is read-only")
        remove_leftovers(place)
        _held[place] = _lock(place)
    except BlockingIOError:
        raise FolderError(
            f"log-dir: another run is writing to '{folder}'; wait until it has ended, stop it, or use another --log-dir"
        ) from None
    except OSError as error:
        raise FolderError(
            f"log-dir: nothing can be written to '{folder}' ({error.strerror or error}); use another --log-dir"
        ) from None
    try:
        yield
    finally:
        os.close(_held.pop(place))
        with suppress(OSError):  # it is not empty
            for each in made:
                each.rmdir()


def _lock(folder: Path) -> int:
    if fcntl is None:
        return os.open(os.devnull, os.O_RDONLY)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _leave_to_parent() -> None:
    """Processes that load data would hold the locks beyond the end of their run."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
