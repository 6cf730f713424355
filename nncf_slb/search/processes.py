"""What processes that train together agree on (`torch.distributed`); a process alone agrees with itself.

Every process must make these calls, in the same order, also one whose share of the data is empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


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
    flags = torch.zeros(dist.get_world_size(), dtype=torch.int32, device=device)
    flags[dist.get_rank()] = int(data)
    dist.all_reduce(flags)
    ranks: list[int] = flags.nonzero().flatten().tolist()
    return ranks


def take_from_(tensor: Tensor, rank: int) -> None:
    """Overwrite a tensor (of any dtype) by that of one process."""
    if _together():
        number = tensor.float()
        dist.broadcast(number, rank)
        tensor.copy_(number)


def average_(tensor: Tensor, ranks: Sequence[int]) -> None:
    """Overwrite a float tensor by its mean over some processes; at least one."""
    if _together():
        if dist.get_rank() not in ranks:
            tensor.zero_()
        dist.all_reduce(tensor)
        tensor.div_(len(ranks))
