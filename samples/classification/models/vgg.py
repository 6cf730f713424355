"""VGG-Small, the paper's second network for CIFAR-10."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from samples.classification.models.activations import make_activation


class VGGSmall(nn.Module):
    """Six 3 x 3 convolutions (128, 128, 256, 256, 512, 512) with three poolings, and a classifier.

    Order conv - (pooling) - BN - activation.

    Args:
        num_classes: Classes.
        in_channels: Channels of the images.
        image_size: Height and width of the images.
        activation: ``relu``, or ``hardtanh`` for 1-bit inputs.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, activation: str = "relu"
    ) -> None:
        super().__init__()
        channels = [in_channels, 128, 128, 256, 256, 512, 512]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(channels))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in channels[1:])
        self.pool = nn.MaxPool2d(2)
        self.activation = make_activation(activation)
        self.fc = nn.Linear(512 * (image_size // 8) ** 2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[batch, num_classes]``."""
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x)
            if index % 2:
                x = self.pool(x)
            x = self.activation(norm(x))
        result: Tensor = self.fc(x.flatten(1))
        return result
