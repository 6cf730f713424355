"""Checkpoints that are written whole or not at all, and read without running anything that stands in them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch

import nncf_slb
from nncf_slb.files import check_archive, new_file


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names the file and the remedy."""


def save(content: dict[str, Any], path: Path) -> None:
    """Write beside the final place, flush to the disk, then move.

    Raises:
        OSError: If that cannot be written; a former file stays.
    """
    data = io.BytesIO()  # torch makes another error of a full disk
    torch.save(content, data)
    with new_file(path) as partial, partial.open("wb") as file:
        file.write(data.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def load(path: Path, keys: tuple[str, ...] = ("model",)) -> dict[str, Any]:
    """Read a checkpoint that holds `keys`.

    Raises:
        CheckpointError: If the file is missing, cut short, holds code, or lacks a key.
    """
    try:
        check_archive(path)
        with torch.serialization.safe_globals(list(nncf_slb.CHECKPOINT_TYPES)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint: '{path}' does not exist") from None
    except Exception as error:  # bytes that are no checkpoint make torch's reader fail in any way
        reason = str(error).split("\n")[0]
        raise CheckpointError(
            f"checkpoint: '{path}' is cut short or no checkpoint of this sample ({reason}); use another one"
        ) from None
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise CheckpointError(f"checkpoint: '{path}' lacks {', '.join(missing)}; use last.pth or best.pth of a run")
    return dict(content)


def refused(path: Path, problems: list[str]) -> CheckpointError:
    """Error that names what is wrong with a checkpoint, in one line."""
    listed = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
    return CheckpointError(f"checkpoint: '{path}' cannot be used: {listed}. Use another one")
