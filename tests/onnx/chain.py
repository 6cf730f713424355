"""A network of every kind of layer, each in front of another whose inputs are quantized, and its search."""

from functools import lru_cache

import numpy as np
import torch
from torch import nn

import nncf_slb

CHANNELS = 24
CONVOLUTIONS = ("conv", "strided", "dilated", "grouped", "depthwise", "after", "one", "valid")


class Chain(nn.Module):
    """Convolutions of all kinds with batch norm, pooling and clamps, then Linear layers on sequences and vectors."""

    def __init__(self):
        super().__init__()
        n = CHANNELS
        self.stem = nn.Conv2d(3, n, 3, padding=1)
        self.conv, self.norm = nn.Conv2d(n, n, 3, padding=1, bias=False), nn.BatchNorm2d(n)
        self.pool = nn.MaxPool2d(2)
        self.strided = nn.Conv2d(n, n, 3, stride=2, padding=1)
        self.dilated = nn.Conv2d(n, n, 3, padding=2, dilation=2)
        self.grouped, self.grouped_norm = nn.Conv2d(n, n, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(n)
        self.depthwise = nn.Conv2d(n, n, 3, padding=1, groups=n)
        self.up = nn.ConvTranspose2d(n, n, 2, stride=2, groups=2)
        self.after = nn.Conv2d(n, n, 3)
        self.one, self.valid = nn.Conv1d(n, n, 3, padding=1), nn.Conv1d(n, n, 3)
        self.tokens = nn.Linear(n, n)
        self.vector, self.vector_norm = nn.Linear(n, n), nn.BatchNorm1d(n)
        self.head = nn.Linear(n, 10)

    def forward(self, image):
        x = torch.relu(self.stem(image))
        x = self.pool(torch.relu(self.norm(self.conv(x))))
        x = self.dilated(nn.functional.relu6(self.strided(x)))
        x = torch.relu(self.depthwise(torch.relu(self.grouped_norm(self.grouped(x)))))
        x = torch.relu(self.after(torch.relu(self.up(x)))).flatten(2)
        x = torch.relu(self.valid(torch.relu(self.one(x)))).transpose(1, 2)
        x = torch.relu(self.tokens(x))[:, 0]
        return self.head(torch.relu(self.vector_norm(self.vector(x))))


def images(count=8):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def float_chain():
    torch.manual_seed(0)
    network = Chain()
    network(images())
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):  # factors of either sign
                module.weight.uniform_(-1.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return network.eval()


def search(network, batch, bits=2, activations=32, edges=8, **section):
    """Controller of a network before its search, in plain PyTorch."""
    config = {
        "algorithm": "slb",
        "weights": {"bits": bits, "edges": edges},
        "activations": {"bits": activations},
        "openvino": {"dry_export": False, **section.pop("openvino", {})},
        **section,
    }
    ctrl, _ = nncf_slb.create_compressed_model(
        network, {"epochs": 1, "compression": config}, [(batch, torch.zeros(len(batch)))], host="torch"
    )
    return ctrl


@lru_cache
def searched_chain(bits=2, activations=32):
    """Controller of the chain; no test changes it."""
    return search(float_chain(), images(), bits, activations)


def outputs(model, batch):
    with torch.no_grad():
        return [tensor.numpy() for tensor in nncf_slb.flat_outputs(model(batch)).values()]


def assert_close_but_for_borders(ours, reference, relative):
    """All samples but two: a sum on the border of an 8-bit rounding moves one in PyTorch too, alone and in a batch."""
    for one, other in zip(ours, reference, strict=True):
        assert one.shape == other.shape
        differences = np.abs(one - other).reshape(len(one), -1).max(1)
        assert (differences <= relative * np.abs(other).max()).sum() >= len(one) - 2, differences


def assert_close(ours, reference, relative=1e-5):
    for one, other in zip(ours, reference, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=relative * np.abs(other).max())
