"""Small networks and configs that the tests share. NNCF names a layer like ``Grouped/NNCFConv2d[dw]/conv2d_0``."""

from __future__ import annotations

import nncf_slb  # noqa: F401  first: it prepares NNCF's environment

# isort: split
import torch
from nncf import NNCFConfig
from nncf.torch import create_compressed_model, register_default_init_args
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Mixed(nn.Module):
    """Grouped, depthwise, strided, dilated and transposed convolutions, residual sum and Linear; 1 x 12 x 12 images."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=4, bias=False)
        self.grouped_bn = nn.BatchNorm2d(16)
        self.strided = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.dilated = nn.Conv2d(16, 16, 3, padding=2, dilation=2)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2, groups=2)
        self.up_bn = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8, 24)
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        x = self.stem_bn(self.stem(x)).relu()
        x = self.grouped_bn(self.grouped(x)).relu()
        x = self.strided(x).relu()
        x = x + self.depthwise(x).relu()
        x = self.dilated(x).relu()
        x = self.up_bn(self.up(x)).relu()
        return self.head(self.hidden(x.mean((2, 3))).relu())


class Small(nn.Module):
    """Two convolutions with batch norm and a Linear, for 8 x 8 digits."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.first_bn = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.second_bn = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.first_bn(self.first(x)).relu()
        x = self.second_bn(self.second(x)).relu()
        return self.head(x.mean((2, 3)))


class Words(nn.Module):
    """Whole numbers in, a searched layer behind the embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, words):
        return self.out(self.embed(words).mean(1))


MIXED_ENDS = ["Mixed/NNCFConv2d[stem]/conv2d_0", "Mixed/NNCFLinear[head]/linear_0"]


def make_config(size, slb=None, others=(), **top):
    """NNCF config with an slb section (updated by `slb`) and further algorithms; without a dry export, unless asked."""
    slb = {**(slb or {}), "openvino": {"dry_export": False, **(slb or {}).get("openvino", {})}}
    sections = [{"algorithm": "slb", **slb}, *others]
    return NNCFConfig.from_dict(
        {"input_info": {"sample_size": list(size)}, "compression": sections if others else sections[0], **top}
    )


def digits(count=200, batch_size=50):
    """Real digits as a loader without shuffling, and the same as two tensors."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.tensor(data.images[:count] / 16.0, dtype=torch.float32)[:, None]
    y = torch.tensor(data.target[:count])
    return DataLoader(TensorDataset(x, y), batch_size=batch_size), x, y


def in_batches_of_any_size(loader, sizes=(30, 50, 20, 60)):
    """The same samples in batches of these sizes, from a loader with a `batch_sampler`, which has no `batch_size`."""
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    batches = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
    return DataLoader(loader.dataset, batch_sampler=batches)


def compress(model, config, loader=None, state=None):
    """`create_compressed_model` with an optional data loader for initialization."""
    if loader is not None:
        config = register_default_init_args(config, loader)
    return create_compressed_model(model, config, compression_state=state, dump_graphs=False)


def searched_words(**input_info):
    """Controller and model of `Words`, whose input NNCF knows as whole numbers."""
    torch.manual_seed(0)
    config = make_config([2, 4], {"ignored_scopes": ["{re}embed"]})
    config["input_info"] = {"sample_size": [2, 4], "type": "long", **input_info}
    return compress(Words(), config)


def train(ctrl, model, loader, epochs, rate=0.02, optimizer=None):
    """Plain training loop of NNCF's documentation."""
    optimizer = optimizer or torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
    for _ in range(epochs):
        ctrl.scheduler.epoch_step()
        model.train()
        for x, y in loader:
            ctrl.scheduler.step()
            optimizer.zero_grad()
            (nn.functional.cross_entropy(model(x), y) + ctrl.loss()).backward()
            optimizer.step()
    model.eval()
    return optimizer
