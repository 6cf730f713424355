"""A search in processes of `torchrun`: prints the sum of the outputs, and how far a restored network is from them."""

import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import nncf_slb
from nncf_slb.search import processes
from tests.hosts.contract import IMAGES, batches, network, settings


def spread(model, mode):
    """The network to run in this process."""
    if mode.startswith("ddp"):
        return DistributedDataParallel(model)
    if mode == "fsdp in parts":
        for layer in (model.left, model.right, model.mix):
            fully_shard(layer)
    fully_shard(model)
    return model


def export_alone(ctrl, rank):
    """What happens where one process calls what all must call."""
    processes.PATIENCE = timedelta(seconds=5)
    if rank == 0:
        try:
            ctrl.strip()
        except processes.ProcessesError as error:
            print(error)
    else:
        time.sleep(8)


def main(mode):
    dist.init_process_group("gloo")
    rank, count = dist.get_rank(), dist.get_world_size()
    data = [(images[rank::count], labels[rank::count]) for images, labels in batches()]
    config = settings(params={"descent": "gradient" if mode == "ddp, gradient descent" else "mirror"})
    ctrl, model = nncf_slb.create_compressed_model(network(), config, data, host="torch")
    run = spread(model, mode)
    optimizer = torch.optim.Adam(run.parameters(), 0.01)
    for _ in range(3):
        ctrl.scheduler.epoch_step()
        run.train()
        for images, labels in data:
            ctrl.scheduler.step()
            optimizer.zero_grad()
            nn.functional.cross_entropy(run(images), labels).backward()
            optimizer.step()
    if mode == "ddp, one exports":
        return export_alone(ctrl, rank)
    run.eval()
    with torch.no_grad():
        outputs = run(IMAGES[300:400])
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:
        state = ctrl.get_compression_state()
        _, restored = nncf_slb.create_compressed_model(network(1), config, data, host="torch", compression_state=state)
        restored.load_state_dict(whole)
        restored.eval()
        with torch.no_grad():
            print(float(outputs.sum()), float((restored(IMAGES[300:400]) - outputs).abs().max()))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
