"""A small network for scikit-learn's 8 x 8 digits."""

from __future__ import annotations

from torch import Tensor, nn

from samples.classification.models.activations import make_activation


class DigitsNet(nn.Module):
    """Three 3 x 3 convolutions with batch norm and a classifier; about 75k parameters at a width of 1.

    Args:
        num_classes: Classes.
        in_channels: Channels of the images.
        activation: ``relu``, or ``hardtanh`` for 1-bit inputs.
        width: Factor of the channels.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, activation: str = "relu", width: float = 1.0
    ) -> None:
        super().__init__()
        first, second, third = (int(width * channels) for channels in (32, 64, 96))
        self.activation = make_activation(activation)
        self.stem = nn.Conv2d(in_channels, first, 3, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(first)
        self.conv1 = nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(second)
        self.conv2 = nn.Conv2d(second, third, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(third)
        self.fc = nn.Linear(third, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[batch, num_classes]`` of images ``[batch, channels, 8, 8]``."""
        x = self.activation(self.stem_bn(self.stem(x)))
        x = self.activation(self.bn1(self.conv1(x)))
        x = self.activation(self.bn2(self.conv2(x)))
        result: Tensor = self.fc(x.mean((2, 3)))
        return result
