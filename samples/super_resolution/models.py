"""Networks from a low-resolution image to one that is `scale` times as high and wide, without batch norm.

All take and give ``[batch, channels, height, width]`` in [0, 1], of any height and width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class ESPCN(nn.Module):
    """Three convolutions in low resolution, then pixels from channels (Shi et al., 2016).

    With ReLU where the paper has tanh: its outputs fill the 8-bit codes from 0, and an int8 kernel computes it.

    Args:
        scale: Factor of height and width.
        channels: 1 for luma, 3 for RGB.
        features: Channels of the first and second convolution.
    """

    def __init__(self, scale: int = 2, channels: int = 1, features: tuple[int, int] = (64, 32)) -> None:
        super().__init__()
        first, second = features
        self.head, self.body = _conv(channels, first, 5), _conv(first, second)
        self.tail = _conv(second, channels * scale**2)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        """Image in high resolution."""
        result: Tensor = self.shuffle(self.tail(self.body(self.head(x).relu()).relu()))
        return result


class VDSR(nn.Module):
    """What bicubic enlargement lacks, computed by many convolutions in high resolution (Kim et al., 2016).

    Args:
        scale: Factor of height and width.
        channels: 1 for luma, 3 for RGB.
        depth: Number of convolutions.
        features: Channels between them.
    """

    def __init__(self, scale: int = 2, channels: int = 1, depth: int = 20, features: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.head = _conv(channels, features)
        self.body = nn.ModuleList(_conv(features, features) for _ in range(depth - 2))
        self.tail = _conv(features, channels)
        for layer in (self.head, *self.body):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.tail.weight)  # training begins at bicubic enlargement
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Image in high resolution."""
        # With antialias, which changes nothing else in an enlargement, PyTorch's cubic is the field's (a = -0.5).
        x = nn.functional.interpolate(x, scale_factor=float(self.scale), mode="bicubic", antialias=True)
        y = self.head(x).relu()
        for layer in self.body:
            y = layer(y).relu()
        result: Tensor = x + self.tail(y)
        return result


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, and the input added."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(features, features), _conv(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        result: Tensor = x + self.conv2(self.conv1(x).relu())
        return result


class EDSR(nn.Module):
    """Residual blocks in low resolution (Lim et al., 2017); by default the paper's baseline.

    Args:
        scale: Factor of height and width; 4 is done in two steps.
        channels: 1 for luma, 3 for RGB.
        blocks: Number of residual blocks.
        features: Channels of each convolution.
    """

    def __init__(self, scale: int = 2, channels: int = 3, blocks: int = 16, features: int = 64) -> None:
        super().__init__()
        self.head = _conv(channels, features)
        self.blocks = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.body_end = _conv(features, features)
        steps = {2: [2], 3: [3], 4: [2, 2]}[scale]
        self.enlarge = nn.ModuleList(_conv(features, features * step**2) for step in steps)
        self.shuffles = nn.ModuleList(nn.PixelShuffle(step) for step in steps)
        self.tail = _conv(features, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Image in high resolution."""
        y = self.head(x)
        y = y + self.body_end(self.blocks(y))
        for layer, shuffle in zip(self.enlarge, self.shuffles, strict=True):
            y = shuffle(layer(y))
        result: Tensor = self.tail(y)
        return result


MODELS: dict[str, Callable[..., nn.Module]] = {"espcn": ESPCN, "vdsr": VDSR, "edsr": EDSR}
