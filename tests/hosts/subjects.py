"""Networks, data and ways to train for what every host must do, and the base of these tests."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import nncf_slb
from nncf_slb.search.runtime import CodedWeight

EPOCHS = 3
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
_IMAGES, _LABELS = load_digits(return_X_y=True)
IMAGES = torch.from_numpy(_IMAGES.reshape(-1, 1, 8, 8).astype(np.float32) / 8 - 1)[:600]
LABELS = torch.from_numpy(_LABELS)[:600]


class Residual(nn.Module):
    """Two layers that read one tensor, a sum, batch norm, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.right = nn.Conv2d(8, 12, 1, stride=2)
        self.mix = nn.Conv2d(12, 12, 3, padding=1, groups=3)
        self.last_norm = nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.left(x) + self.right(x))
        x = torch.relu(self.mix(self.mix(x)))
        return self.head(self.last_norm(x).mean((2, 3)))


class NoBatchNorm(nn.Module):
    """What it gives for a sample does not depend on the other samples of a batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten()
        )
        self.head = nn.Linear(72, 10)

    def forward(self, x):
        return self.head(self.body(x))


class Encoder(nn.Module):
    """Layers that PyTorch runs as one operation in evaluation without gradients."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(8, 16)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True), 2)
        self.last = nn.Linear(16, 10)

    def forward(self, x):
        return self.last(self.encoder(self.first(x)).mean(1))


class Unexportable(Residual):
    """Ends in a function that OpenVINO does not know."""

    def forward(self, x):
        return torch.special.i1e(super().forward(x))


class Functional(nn.Module):
    """A convolution by function and attention, whose weights no layer runs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.kernel = nn.Parameter(torch.randn(8, 8, 1, 1) / 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = torch.relu(nn.functional.conv2d(torch.relu(self.stem(x)), self.kernel))
        x = x.flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x.mean(1))


class Tied(nn.Module):
    """Runs a `Residual` with a twin of its ``right``, which shares the weight."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        inner = self.inner
        x = torch.relu(inner.norm(inner.stem(x)))
        x = torch.relu(inner.left(x) + inner.right(x) - inner.twin(x * 0.5))
        return inner.head(inner.last_norm(x).mean((2, 3)))


def feature(name):
    """Mark a test as what the docs promise under a name."""

    def mark(function):
        function.feature = name
        return function

    return mark


def network(seed=0):
    torch.manual_seed(seed)
    return Residual()


def batches(size=50):
    return [(IMAGES[i : i + size], LABELS[i : i + size]) for i in range(0, 300, size)]


def settings(others=(), **slb):
    slb.setdefault("openvino", {"dry_export": False})
    return {
        "epochs": EPOCHS,
        "input_info": {"sample_size": [1, 1, 8, 8]},
        "compression": [{"algorithm": "slb", **slb}, *others] if others else {"algorithm": "slb", **slb},
    }


def train(ctrl, model, epochs=EPOCHS, optimizer=None, data=None):
    """Train on the digits; the optimizer, for going on with it."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(epochs):
        ctrl.scheduler.epoch_step()
        model.train()
        for images, labels in data or batches():
            ctrl.scheduler.step()
            optimizer.zero_grad()
            (nn.functional.cross_entropy(model(images), labels) + ctrl.loss()).backward()
            optimizer.step()
    return optimizer


def outputs(model):
    model.eval()
    with torch.no_grad():
        return model(IMAGES[300:400])


def codes(stripped):
    return {name: module.codes for name, module in stripped.named_modules() if isinstance(module, CodedWeight)}


def way_to_train(make_optimizer, parts=1, clip=None, memory_format=torch.contiguous_format):
    """A training of two epochs; each batch in `parts`, whose gradients are added up."""

    def run(ctrl, model):
        model = model.to(memory_format=memory_format)
        optimizer = make_optimizer(model.parameters())
        for _ in range(2):
            ctrl.scheduler.epoch_step()
            model.train()
            for images, labels in batches():
                ctrl.scheduler.step()
                optimizer.zero_grad()
                for x, y in zip(images.chunk(parts), labels.chunk(parts), strict=True):
                    outputs = model(x.to(memory_format=memory_format))
                    (nn.functional.cross_entropy(outputs, y) / parts + ctrl.loss()).backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()

    return run


def sgd(**others):
    return lambda parameters: torch.optim.SGD(parameters, 0.05, momentum=0.9, **others)


def adam(**others):
    return lambda parameters: torch.optim.Adam(parameters, 0.005, **others)


# The plain loop, and another one that comes to the same.
WAYS = {
    "accumulation": (way_to_train(sgd()), way_to_train(sgd(), parts=2)),
    "clipping": (way_to_train(sgd()), way_to_train(sgd(), clip=1e6)),
    "clipping a lot": (way_to_train(sgd(), clip=0.1), way_to_train(sgd(), parts=5, clip=0.1)),
    "channels last": (way_to_train(adam()), way_to_train(adam(), memory_format=torch.channels_last)),
    "fused Adam": (way_to_train(adam(foreach=False)), way_to_train(adam(fused=True))),
    "foreach Adam": (way_to_train(adam(foreach=False)), way_to_train(adam(foreach=True))),
    "fused SGD": (way_to_train(sgd(foreach=False)), way_to_train(sgd(fused=True))),
    "Nesterov": (way_to_train(sgd(nesterov=True, foreach=False)), way_to_train(sgd(nesterov=True, foreach=True))),
}


class HostTests:
    """Tests of one host.

    Attributes:
        host: Its name.
    """

    host = ""

    def create(self, model=None, config=None, loader=None, **others):
        model = network() if model is None else model
        return nncf_slb.create_compressed_model(
            model, settings() if config is None else config, batches() if loader is None else loader, host=self.host,
            **others,
        )  # fmt: skip

    def scope(self, layer):
        """This host's name of a layer, to write in a config."""
        return layer

    def layer_names(self, ctrl):
        return [layer.name for layer in ctrl.statistics().slb.layers]

    def checkpoint_types(self):
        return []

    def name_elsewhere(self, name):
        return f"Residual/NNCFConv2d[{name}]/conv2d_0"
