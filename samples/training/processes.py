"""This process among those that train together (torchrun, or ``--multiprocessing-distributed``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


class ProcessesError(RuntimeError):
    """Processes that cannot go on together; the message says what to do."""


@dataclass(frozen=True)
class Processes:
    """Rank of this process, number of processes, and its rank on this machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """True for the process that logs and saves."""
        return self.rank == 0

    def device(self, kind: str) -> str:
        """Device of this process."""
        return f"cuda:{self.local_rank}" if kind == "cuda" else kind

    def wait(self) -> None:
        """Return once all processes are here."""
        if self.world > 1:
            dist.barrier()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether a flag is set in any process; all must ask."""
        if self.world == 1:
            return flag
        flags = torch.tensor(int(flag), device=device)
        dist.all_reduce(flags)
        return bool(flags)

    def wrap(self, model: nn.Module) -> nn.Module:
        """`DistributedDataParallel` around the model where there is more than one process."""
        if self.world == 1:
            return model
        return nn.parallel.DistributedDataParallel(model)


@contextmanager
def together(processes: Processes, advice: str) -> Iterator[None]:
    """Within it, the end of another process is one line.

    Args:
        processes: This process among the others.
        advice: What to do then.

    Raises:
        ProcessesError: If another process has ended, or cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "Connection", "NCCL"))
        if processes.world == 1 or not lost:
            raise
        reason = str(error).split("\n")[0]
        raise ProcessesError(f"another of the {processes.world} processes has ended ({reason}); {advice}") from None


def join_from_environment(device: str) -> Processes:
    """Join the processes that torchrun started; a single process elsewhere."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return Processes()
    processes = Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"]))
    if device == "cuda":
        torch.cuda.set_device(processes.local_rank)
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return processes
