"""Runs as a training or a search without labels writes them, made in a moment."""

import torch
from torch import nn

import nncf_slb
from nncf_slb.reports.facts import LayerPlan, RunFacts, Score
from nncf_slb.reports.recording import Recording

VALUES = [-1.0, -1 / 3, 1 / 3, 1.0]


def line(epoch, epochs, layers=("conv1", "conv2")):
    """Numbers of an epoch of a search that settles."""
    sure = 0.6 + 0.39 * epoch / epochs
    layer = {"confidence": sure, "lowest": 0.5, "histogram": [0.2, 0.3, 0.3, 0.2], "zero_channels": 0}
    return {
        "epoch": epoch, "loss": 1 / epoch, "val_top1": 90 + 8 * epoch / epochs, "lr": 0.01,
        "inverse_temperature": 20 ** (epoch / epochs), "confidence": sure, "changed": 0.3 * (1 - epoch / epochs),
        "layers": {name: layer for name in layers},
    }  # fmt: skip


def facts(epochs=5, layers=("conv1", "conv2"), **changes):
    plans = [LayerPlan(name=name, weights=400, bits=2, bytes=100, values=VALUES) for name in layers]
    return RunFacts(
        **{"network": "small", "data": "digits", "score": Score(name="top-1 accuracy", unit="%"), "length": epochs,
           "layers": plans, "config": {"epochs": epochs, "compression": {"weights": {"bits": 2}}}, **changes}
    )  # fmt: skip


def write_run(folder, epochs=5, done=None, last=None, networks=None, layers=("conv1", "conv2"), verified=None, **said):
    """A training of some epochs; `done` of them where it was interrupted, and changes of its last line."""
    recording = Recording(folder)
    recording.begin(facts(epochs, layers, **said), "epoch")
    if networks is None:
        networks = {"float": {"test": 98.5}, "nearest": {"test": 91.25}, "searched": {"test": 98.25}}
    for name, scores in networks.items():
        recording.network(name, scores=scores)
    done = epochs if done is None else done
    for epoch in range(1, done + 1):
        changes = (last or {}) if epoch == done else {}
        recording.add("epoch", {**line(epoch, epochs, layers), **changes})
    if verified is not None:
        recording.verification(verified)
    if done == epochs:
        recording.finish()
    recording.end()
    return folder


class Convolutions(nn.Module):
    """Four layers, of which the inner ones are searched."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3)
        self.inner = nn.Conv2d(16, 16, 3, bias=False)
        self.wide = nn.Conv2d(16, 24, 3, bias=False)
        self.last = nn.Linear(24, 10)

    def forward(self, x):
        x = self.wide(self.inner(self.first(x).relu()).relu()).relu()
        return self.last(x.mean((2, 3)))


def network():
    torch.manual_seed(0)
    return Convolutions().eval()


def images():
    return torch.rand(160, 1, 10, 10, generator=torch.Generator().manual_seed(1))


def search(folder, model=None, export=True, **settings):
    """A search without labels that writes to a folder, and its file in it."""
    chosen = {"steps": 60, "activations": 8, **settings}
    found = nncf_slb.search_post_training(model or network(), images(), log_dir=folder, **chosen)
    if export:
        found.export(folder / "model.xml")
    return found
