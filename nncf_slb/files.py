"""Files that are complete or not there at all, and what JSON files can hold."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows, where what killed processes leave stays
    fcntl = None  # type: ignore[assignment]

_PARTIAL = ".partial-"
_LONGEST_NAME = 200  # bytes; file systems take 255, and unfinished files have longer names


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A path to write to that becomes `target` when the block ends well, and vanishes otherwise; folders are made.

    What killed processes have left of the same target is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent, target.name)
    folder, lock = _locked_folder(target)
    try:
        yield folder / target.name
        os.replace(folder / target.name, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unlock(lock)


def problem_of_path(path: Any) -> str:
    """What is wrong with something that is to be the path of a file or folder, for a message; empty if nothing is."""
    if not isinstance(path, str | os.PathLike) or not isinstance(text := os.fspath(path), str):
        return f"{path!r}; allowed is a path"
    if "\0" in text:
        return f"{text!r}; allowed is a path without a zero byte"
    name = os.path.basename(text)
    if len(os.fsencode(name)) > _LONGEST_NAME:
        return f"a name of {len(os.fsencode(name))} bytes ({name[:20]}...); allowed are {_LONGEST_NAME}"
    return ""


def problem_of_writing(target: Path) -> str:
    """Why a file could not be written, which is tried in its folder; empty if it could."""
    if target.exists() and not target.is_file():
        return f"{target}, which is no file; allowed is a file, or a new name"
    folder = next(each for each in target.absolute().parents if each.exists())  # those below it are made when writing
    try:
        with tempfile.TemporaryDirectory(dir=folder):
            return ""
    except OSError as error:
        return (
            f"{target}, which cannot be written ({error.strerror}); allowed is a file in a folder that you may write to"
        )


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes have left of unfinished files; those that are being written stay.

    Args:
        folder: Where the files were to be.
        name: Name of the file; None for any.
    """
    start = "." if name is None else f".{name}{_PARTIAL}"
    for left in folder.glob(f".*{_PARTIAL}*"):
        lock = _lock(left, wait=False) if left.name.startswith(start) else None
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            _unlock(lock)


def check_archive(path: Path) -> None:
    """Compare the contents of a file of `torch.save` with its checksums, which `torch.load` does not.

    Raises:
        OSError: If it cannot be read.
        zipfile.BadZipFile: If it is no such file, or damaged.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def _locked_folder(target: Path) -> tuple[Path, int | None]:
    """A new folder beside the target, locked for as long as its writer lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}{_PARTIAL}", dir=target.parent))
        lock = _lock(folder, wait=True)
        if folder.exists():
            return folder, lock
        _unlock(lock)  # another writer took it for a leftover before it was locked


def _lock(folder: Path, wait: bool) -> int | None:
    """Lock a folder until `_unlock` or the end of the process; None where that cannot be."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unlock(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def with_nulls(node: Any) -> Any:
    """The same for JSON, which has no words for a NaN and infinities: null in their place."""
    if isinstance(node, Mapping):
        return {key: with_nulls(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [with_nulls(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
