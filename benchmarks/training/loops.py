"""Training loops that are measured: the same network, data and optimizer under each method."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from nncf import NNCFConfig
from nncf.torch import create_compressed_model, register_default_init_args
from torch import Tensor, nn

from benchmarks.accuracy import rivals
from benchmarks.accuracy.protocol import nncf_quantization, slb_section
from samples.classification.datasets.arrays import ArrayBatches, random_flip
from samples.classification.models import MODELS
from samples.classification.recipes import RECIPES


@dataclass(frozen=True)
class Network:
    """A network, and the batches that it is trained with.

    Attributes:
        recipe: Name of its recipes without their ending.
        batch: Images in a batch.
        steps: Steps of a method in each round.
        rounds: Rounds that count.
    """

    recipe: str
    batch: int
    steps: int
    rounds: int


NETWORKS = {
    "small ResNet": Network("small_resnet_fashion_mnist", 200, 10, 20),
    "ResNet-20": Network("resnet20_cifar10", 128, 2, 15),
    "ResNet-18, 224 x 224": Network("resnet18_imagenet", 32, 1, 6),
}
BITS = (1, 2, 4)
_OURS = {
    **{f"slb, W{bits}": (f"w{bits}a32", {}) for bits in BITS},
    **{f"slb, W{bits}, gradient descent": (f"w{bits}a32", {"descent": "gradient"}) for bits in BITS},
}
_RIVALS = {
    "BWN, W1": "bwn_w1", "LSQ, W1": "lsq_w1", "LSQ, W2": "lsq_w2", "LSQ, W4": "lsq_w4",
    "Brevitas, W1": "brevitas_w1", "Brevitas, W2": "brevitas_w2", "Brevitas, W4": "brevitas_w4",
}  # fmt: skip
FLOAT = "float"
NNCF_METHOD, BESIDE_NNCF = "NNCF quantization, W2A8", "slb, W{} beside NNCF quantization, A8"


def methods() -> list[str]:
    """All methods that this environment can run, float first."""
    ours = [*_OURS, *(BESIDE_NNCF.format(bits) for bits in BITS)]
    return [FLOAT, *ours, NNCF_METHOD, *(name for name in _RIVALS if "Brevitas" not in name or _has_brevitas())]


def _has_brevitas() -> bool:
    try:
        import brevitas  # noqa: F401
    except ImportError:
        return False
    return True


class Loop:
    """A training loop that goes on step by step.

    Args:
        network: What is trained.
        method: One of `methods`.
        total: Steps that it will take, over which a search runs.
    """

    def __init__(self, network: Network, method: str, total: int) -> None:
        self.config = copy.deepcopy(RECIPES[f"{network.recipe}_{self._recipe(method)}"])
        torch.manual_seed(0)
        self.batches = _batches(self.config, network.batch)
        self.model: nn.Module = MODELS[self.config["model"]](
            num_classes=self.config["num_classes"], **self.config["model_params"]
        ).to(memory_format=torch.channels_last)
        self.ctrl: Any = None
        if method in _RIVALS:
            self.model = rivals.insert(self.model, _RIVALS[method], averages=False)
        elif method != FLOAT:
            self._compress(method, total)
        self.optimizer = torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad], 1e-3)
        self._stream = self._forever()
        self.model.train()
        if self.ctrl:
            self.ctrl.scheduler.epoch_step()

    def _recipe(self, method: str) -> str:
        if method in _OURS:
            return _OURS[method][0]
        for bits in BITS:
            if method == BESIDE_NNCF.format(bits):
                return f"w{bits}a8"
        return "w2a8" if method == NNCF_METHOD else "float"

    def _compress(self, method: str, total: int) -> None:
        if method == NNCF_METHOD:
            self.config["compression"] = nncf_quantization(2)
            self.config["target_device"] = "TRIAL"  # NNCF's name for no limits; its CPU has 8 bits only
        else:
            section = slb_section(self.config)
            section.setdefault("params", {}).update(_OURS.get(method, ("", {}))[1])
            section["params"] |= {"steps_per_epoch": math.ceil(total / 4), "epochs": 5}
            section["openvino"] = {"dry_export": False}
        config = register_default_init_args(NNCFConfig.from_dict(self.config), self.batches)
        self.ctrl, self.model = create_compressed_model(self.model, config, dump_graphs=False)

    def _forever(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.batches

    def step(self) -> None:
        """What a training does for one batch."""
        images, labels = next(self._stream)
        if self.ctrl:
            self.ctrl.scheduler.step()
        loss = nn.functional.cross_entropy(self.model(images), labels)
        if self.ctrl:
            loss = loss + self.ctrl.loss()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        float(loss.detach())

    def state_bytes(self) -> int:
        """Bytes of a checkpoint of the network."""
        buffer = io.BytesIO()
        torch.save(self.model.state_dict(), buffer)
        return len(buffer.getvalue())


def _batches(config: dict[str, Any], size: int) -> ArrayBatches:
    """Random images and labels, flipped as in the samples; two batches of them, so that no round reads the disk."""
    _, *shape = config["input_info"]["sample_size"]
    numbers = torch.Generator().manual_seed(0)
    images = torch.randn(2 * size, *shape, generator=numbers)
    labels = torch.randint(0, config["num_classes"], (len(images),), generator=numbers)
    return ArrayBatches(images, labels, size, shuffle=True, augment=random_flip)


MakeLoop = Callable[[Network, str, int], Loop]
