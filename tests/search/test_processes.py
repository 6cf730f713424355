"""Processes that train together agree, also where some of them have no data."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing import spawn

from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.batchnorm import calibrate

DATA = torch.randn(3, 64, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([2.0, -3.0])


def fitted(batches):
    quantizer = ActivationQuantizer(4, "lsq")
    quantizer.observe()
    for batch in batches:
        quantizer(batch)
    quantizer.finish()
    return quantizer.state_dict()


def calibrated(batches):
    model = nn.BatchNorm1d(2)
    used = calibrate(model, model, batches)
    return used, model.state_dict()


SHARES = [[[0], [1, 2]], [[], [1]], [[2], []], [[], []]]  # batches of each of two processes


def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    batches = [[DATA[index] for index in shares[rank]] for shares in SHARES]
    torch.save([(fitted(each), *calibrated(each)) for each in batches], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    spawn(work, (folder,), nprocs=2)  # once: importing takes most of its time
    return list(zip(*(torch.load(folder / f"{rank}.pt") for rank in range(2)), strict=True))


@pytest.mark.parametrize("case", [0, 1, 2])
def test_all_take_the_step_of_the_first_with_data_and_the_mean_of_the_statistics(case, results):
    having = [share for share in SHARES[case] if share]
    step = fitted([DATA[index] for index in having[0]])
    alone = [calibrated([DATA[index] for index in share])[1] for share in having]
    for share, (quantizer, used, statistics) in zip(SHARES[case], results[case], strict=True):
        assert used == len(share)
        torch.testing.assert_close(quantizer, step)
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(statistics[name], torch.stack([each[name] for each in alone]).mean(dim=0))


def test_without_data_anywhere_all_stays_as_it_was(results):
    for quantizer, used, statistics in results[3]:
        assert used == 0
        torch.testing.assert_close(quantizer, ActivationQuantizer(4, "lsq").state_dict())
        torch.testing.assert_close(statistics, nn.BatchNorm1d(2).state_dict())
