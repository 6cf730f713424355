"""What processes that train together agree on (`torch.distributed`); a process alone agrees with itself.

Every process must make these calls, in the same order, also one whose share of the data is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nncf_slb.errors import SLBError

PATIENCE = timedelta(minutes=5)  # with which a process waits for the others to make the same call


class ProcessesError(SLBError, RuntimeError):
    """Processes that do not make the same calls; the message names them and what to call."""


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def ranks_with(data: bool, device: torch.device) -> list[int]:
    """Ranks of the processes that have data, ascending.

    Args:
        data: Whether this process has some.
        device: Where the processes exchange tensors: that of the model.
    """
    if not _together():
        return [0] if data else []
    _meet()
    flags = torch.zeros(dist.get_world_size(), dtype=torch.int32, device=device)
    flags[dist.get_rank()] = int(data)
    dist.all_reduce(flags)
    ranks: list[int] = flags.nonzero().flatten().tolist()
    return ranks


def _meet() -> None:
    """Wait for the other processes, but not until their backend gives up (30 minutes).

    Raises:
        ProcessesError: If some do not come; only with the backend gloo, which can tell.
    """
    if dist.get_backend() != "gloo":
        return
    try:
        dist.monitored_barrier(timeout=PATIENCE, wait_all_ranks=True)
    except RuntimeError as error:
        raise ProcessesError(
            f"process {dist.get_rank()} of {dist.get_world_size()} waited {PATIENCE.total_seconds():g} s in vain for "
            "the others to make the same call: batch norm is calibrated over the data of all processes. Call "
            f"evaluation, strip(), export and statistics on every process, or evaluate on all of them first ({error})"
        ) from error


def take_from_(tensor: Tensor, rank: int) -> None:
    """Overwrite a tensor (of any dtype) by that of one process."""
    if _together():
        number = tensor.float()
        dist.broadcast(number, rank)
        tensor.copy_(number)


def take_all_from_(model: nn.Module, rank: int) -> None:
    """Overwrite parameters and buffers by those of one process."""
    if _together():
        for tensor in (*model.parameters(), *model.buffers()):
            take_from_(tensor.detach(), rank)


def average_(tensor: Tensor, ranks: Sequence[int]) -> None:
    """Overwrite a float tensor by its mean over some processes; at least one."""
    if _together():
        if dist.get_rank() not in ranks:
            tensor.zero_()
        dist.all_reduce(tensor)
        tensor.div_(len(ranks))
