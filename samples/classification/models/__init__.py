"""Networks by the name that a config's ``model`` takes; ``model_params`` are their keyword arguments."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from samples.classification.models.digits import DigitsNet
from samples.classification.models.resnet import ResNet18, ResNet20, SmallResNet
from samples.classification.models.vgg import VGGSmall

MODELS: dict[str, Callable[..., nn.Module]] = {
    "digits_net": DigitsNet,
    "small_resnet": SmallResNet,
    "resnet20": ResNet20,
    "vgg_small": VGGSmall,
    "resnet18": ResNet18,
}
