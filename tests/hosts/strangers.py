"""Networks of forms that no one here drew, and a search of few steps, for the tests of searches without labels."""

import torch
from torch import nn
from torch.nn import functional

import nncf_slb

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


class Ends(nn.Module):
    """First and last layers, with what a test is about between them."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 8), nn.Linear(8, 16), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(torch.relu(self.between(torch.relu(self.first(x)))))

    def between(self, x):
        return torch.relu(self.middle(x)) @ self.middle.weight


class TwoFunctionWeights(Ends):
    def __init__(self):
        super().__init__()
        self.one, self.other = (nn.Parameter(torch.randn(8, 8)) for _ in range(2))

    def between(self, x):
        return functional.linear(torch.relu(functional.linear(x, self.one)), self.other)


def samples(count=240):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(0))


def search(network, images=None, **settings):
    torch.manual_seed(0)
    model = network() if callable(network) and not isinstance(network, nn.Module) else network
    images = samples() if images is None else images
    return nncf_slb.search_post_training(model, images, **{"steps": 2, **settings})


class Signals(nn.Module):
    """Outputs whose size is that of the first layer's."""

    def __init__(self, size):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 5)
        for parameter in (self.first.weight, self.first.bias, self.middle.bias, self.last.bias):
            parameter.data *= size

    def forward(self, x):
        return self.last(torch.relu(self.middle(torch.relu(self.first(x)))))[:, :, None]
