"""This process among those that train together (torchrun, or ``--multiprocessing-distributed``)."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


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

    def wrap(self, model: nn.Module) -> nn.Module:
        """`DistributedDataParallel` around the model where there is more than one process."""
        if self.world == 1:
            return model
        # Logits get no gradient once the search has ended.
        return nn.parallel.DistributedDataParallel(model)


def join_from_environment(device: str) -> Processes:
    """Join the processes that torchrun started; a single process elsewhere."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        return Processes()
    processes = Processes(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"]))
    if device == "cuda":
        torch.cuda.set_device(processes.local_rank)
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return processes
