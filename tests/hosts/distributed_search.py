"""A search in processes of `torchrun`: the first one prints what came of it, as JSON."""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

import nncf_slb
from nncf_slb.search import processes
from nncf_slb.search.searchable import searchable_weights
from tests.hosts.subjects import IMAGES, LABELS, batches, network, settings

ROOT = Path(__file__).parents[2]
# What a mode changes in the section of slb.
SECTIONS = {
    "ddp, gradient descent": {"params": {"descent": "gradient"}},
    "ddp, state batch norm": {"params": {"batchnorm": "state"}},
    "ddp, 8-bit inputs": {"activations": {"bits": 8}},
    "ddp, bits chosen": {"weights": {"bits": "auto", "budget": {"mean_bits": 2.5}}},
    "ddp, search without labels": {"initializer": {"reconstruction": {"num_samples": 100, "steps": 10}}},
    "fsdp, search without labels": {"initializer": {"reconstruction": {"num_samples": 100, "steps": 10}}},
}


def plain_network(seed=0):
    """Without batch norm, which would see other batches in each process."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(72, 10),
    )  # fmt: skip


def spread(model, mode):
    """The network to run in this process."""
    if mode.startswith("ddp"):
        return DistributedDataParallel(model, static_graph=mode == "ddp, static graph")
    if mode == "fsdp in parts":
        for layer in (model.left, model.right, model.mix):
            fully_shard(layer)
    fully_shard(model)
    return model


def make_optimizer(run, mode):
    if mode == "ddp, zero redundancy":
        return ZeroRedundancyOptimizer(run.parameters(), torch.optim.Adam, lr=0.01)
    if mode == "ddp, no batch norm":
        return torch.optim.SGD(run.parameters(), 0.05, momentum=0.9)
    return torch.optim.Adam(run.parameters(), 0.01)


def search(run, ctrl, data, optimizer, epochs=3):
    for _ in range(epochs):
        ctrl.scheduler.epoch_step()
        run.train()
        for images, labels in data:
            ctrl.scheduler.step()
            optimizer.zero_grad()
            nn.functional.cross_entropy(run(images), labels).backward()
            optimizer.step()
    run.eval()


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


def among_processes(tensor):
    """Largest difference between processes."""
    found = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(found, tensor.contiguous())
    return float(max((other.float() - tensor.float()).abs().max() for other in found))


def in_mode(mode, host):
    """Search together; what was found, and what one process needs to go on."""
    rank, count = dist.get_rank(), dist.get_world_size()
    data = [(images[rank::count], labels[rank::count]) for images, labels in batches()]
    make, config = (plain_network if mode == "ddp, no batch norm" else network), settings(**SECTIONS.get(mode, {}))
    ctrl, model = nncf_slb.create_compressed_model(make(), config, data, host=host)
    if host == "nncf2":
        ctrl.distributed()
    run = spread(model, mode)
    search(run, ctrl, data, make_optimizer(run, mode))
    if mode == "ddp, one exports":
        return export_alone(ctrl, rank)
    with torch.no_grad():
        outputs = run(IMAGES[300:400])
    bits = torch.tensor([weight.values.bits for weight in searchable_weights(model)])
    found = {"outputs": outputs.tolist(), "apart": [among_processes(outputs), among_processes(bits)]}
    if mode.startswith("ddp"):
        with torch.no_grad():
            found["apart"].append(among_processes(ctrl.strip()(IMAGES[300:400])))
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return found, (make, config, data, whole, ctrl.get_compression_state())


def gone_on(host, make, config, data, weights, state):
    """Outputs of a run that is resumed with another number of processes."""
    _, model = nncf_slb.create_compressed_model(make(1), config, data, host=host, compression_state=state)
    model.load_state_dict(weights)
    model.eval()
    with torch.no_grad():
        return model(IMAGES[300:400])


def main(host, *modes):
    dist.init_process_group("gloo")
    first = dist.get_rank() == 0
    done = {mode: in_mode(mode, host) for mode in modes}
    if None in done.values():
        return
    dist.barrier()
    dist.destroy_process_group()
    for mode in modes if first else ():
        found, resumed = done[mode]
        apart = gone_on(host, *resumed) - torch.tensor(found["outputs"])
        print(json.dumps({"mode": mode, "resumed_apart": float(apart.abs().max()), **found}))


def printed_by_two_processes(host, *modes):
    """What this script prints."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    command += ["--rdzv_endpoint", "localhost:0", __file__, host, *modes]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def found_by_two_processes(host, *modes):
    """What came of each mode."""
    found = [json.loads(line) for line in printed_by_two_processes(host, *modes).splitlines() if line.startswith("{")]
    return {search["mode"]: search for search in found}


def one_network(found):
    """Assert that the processes have one network, which a process alone goes on with, and that it has learned."""
    assert not any(found["apart"]) and found["resumed_apart"] == 0
    accuracy = (torch.tensor(found["outputs"]).argmax(1) == LABELS[300:400]).float().mean()
    assert accuracy > 0.3


if __name__ == "__main__":
    main(*sys.argv[1:])
