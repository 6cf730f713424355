"""Residual networks: a small one for 28 x 28 images, ResNet-20 for 32 x 32, ResNet-18 for 224 x 224."""

from __future__ import annotations

from torch import Tensor, nn


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


def _pooled_shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    pool = nn.AvgPool2d(stride, ceil_mode=True)  # of odd sizes too, as many pixels as the strided convolution gives
    return nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with one shortcut around both (He et al., 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Features with `outputs` channels, `stride` times smaller."""
        y = self.bn1(self.conv1(x)).relu()
        result: Tensor = (self.bn2(self.conv2(y)) + self.shortcut(x)).relu()
        return result


class BiRealBlock(nn.Module):
    """Two 3 x 3 convolutions for 1-bit inputs, with a shortcut around each (Bi-Real Net, Liu et al., 2018).

    Order conv - PReLU - BN, as in the paper. Nothing follows a sum, whose sign the next convolution takes: a ReLU would
    let no gradient through where the sum is negative, and clip the shortcuts. Where the size changes, the first
    shortcut is 2 x 2 average pooling, a 1 x 1 convolution of stride 1 and BN, as in Bi-Real Net.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.act1 = _conv3x3(inputs, outputs, stride), nn.PReLU(outputs)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2, self.act2 = _conv3x3(outputs, outputs), nn.PReLU(outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _pooled_shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Features with `outputs` channels, `stride` times smaller."""
        x = self.bn1(self.act1(self.conv1(x))) + self.shortcut(x)
        result: Tensor = self.bn2(self.act2(self.conv2(x))) + x
        return result


def _stage(block: type[nn.Module], inputs: int, outputs: int, count: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        block(inputs, outputs, stride), *(block(outputs, outputs, 1) for _ in range(count - 1))
    )  # fmt: skip


class _ThreeStages(nn.Module):
    """Stem, stages of 16, 32 and 64 channels, mean over the image, classifier.

    Between stem and stages stands a ReLU, but with `bireal` nothing, as in Bi-Real Net: the first sign gets both signs.
    """

    def __init__(self, num_classes: int, in_channels: int, blocks: int, stem_stride: int, bireal: bool) -> None:
        super().__init__()
        self.bireal = bireal
        block: type[nn.Module] = BiRealBlock if bireal else BasicBlock
        self.stem, self.stem_bn = _conv3x3(in_channels, 16, stem_stride), nn.BatchNorm2d(16)
        self.stage1 = _stage(block, 16, 16, blocks, 1)
        self.stage2 = _stage(block, 16, 32, blocks, 2)
        self.stage3 = _stage(block, 32, 64, blocks, 2)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[batch, num_classes]``."""
        x = self.stem_bn(self.stem(x))
        x = x if self.bireal else x.relu()
        x = self.stage3(self.stage2(self.stage1(x)))
        result: Tensor = self.fc(x.mean((2, 3)))
        return result


class SmallResNet(_ThreeStages):
    """One block a stage and a stem of stride 2; about 78k parameters.

    Args:
        num_classes: Classes.
        in_channels: Channels of the images.
        bireal: `BiRealBlock`s, for 1-bit inputs, and no ReLU behind the stem.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, bireal: bool = False) -> None:
        super().__init__(num_classes, in_channels, 1, 2, bireal)


class ResNet20(_ThreeStages):
    """ResNet-20 for 32 x 32 or 28 x 28 images; arguments as for `SmallResNet`."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3, bireal: bool = False) -> None:
        super().__init__(num_classes, in_channels, 3, 1, bireal)


class ResNet18(nn.Module):
    """ResNet-18 for 224 x 224 images; arguments as for `SmallResNet`, and the paper's has `bireal`.

    Stem, BN, ReLU and 3 x 3 max pooling; with `bireal` there is no ReLU, as in Bi-Real Net.
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, bireal: bool = False) -> None:
        super().__init__()
        self.bireal = bireal
        block: type[nn.Module] = BiRealBlock if bireal else BasicBlock
        self.stem = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.stem_bn = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage1 = _stage(block, 64, 64, 2, 1)
        self.stage2 = _stage(block, 64, 128, 2, 2)
        self.stage3 = _stage(block, 128, 256, 2, 2)
        self.stage4 = _stage(block, 256, 512, 2, 2)
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[batch, num_classes]``."""
        x = self.stem_bn(self.stem(x))
        x = self.pool(x if self.bireal else x.relu())
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        result: Tensor = self.fc(x.mean((2, 3)))
        return result
