"""Networks of plain torch that the tests of hosts share, with batches for them."""

import torch
from torch import nn


class DigitsNet(nn.Module):
    """Three convolutions and a Linear layer, for 8 x 8 digits."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
            nn.Conv2d(16, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True),
            nn.Conv2d(24, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class OneInput(nn.Module):
    """A network whose batches are its input."""

    @staticmethod
    def inputs(batch):
        return (batch,), {}


class Tokens(OneInput):
    """Two blocks of attention with layer norm on words; the embedding has the first weights, and there is dropout."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(4))
        self.projections = nn.ModuleList(nn.Linear(16, 48) for _ in range(2))
        self.hidden = nn.ModuleList(nn.Linear(16, 32) for _ in range(2))
        self.back = nn.ModuleList(nn.Linear(32, 16) for _ in range(2))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(16, 5)

    def forward(self, words):
        x = self.words(words)
        for block in range(2):
            query, key, value = self.projections[block](self.norms[2 * block](x)).chunk(3, -1)
            x = x + self.dropout(nn.functional.scaled_dot_product_attention(query, key, value))
            x = x + self.back[block](nn.functional.gelu(self.hidden[block](self.norms[2 * block + 1](x))))
        return self.head(x.mean(1))

    @staticmethod
    def batches(count, samples):
        numbers = torch.Generator().manual_seed(1)
        return [torch.randint(0, 20, (samples, 6), generator=numbers) for _ in range(count)]


class TwoInputs(nn.Module):
    """Two inputs by keyword, two outputs by name, a weight that two layers share, no normalization."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(6, 8), nn.Linear(4, 8)
        self.middle, self.again = nn.Linear(8, 8), nn.Linear(8, 8)
        self.again.weight = self.middle.weight
        self.one, self.two = nn.Linear(8, 3), nn.Linear(8, 2)

    def forward(self, left, right):
        x = torch.relu(self.left(left) + self.right(right))
        x = torch.relu(self.again(torch.relu(self.middle(x)))) + x
        return {"one": self.one(x), "two": self.two(x)}

    @staticmethod
    def inputs(batch):
        return (), batch

    @staticmethod
    def batches(count, samples):
        numbers = torch.Generator().manual_seed(1)
        return [
            {"left": torch.randn(samples, 6, generator=numbers), "right": torch.randn(samples, 4, generator=numbers)}
            for _ in range(count)
        ]


class Standardized(nn.Conv2d):
    """Convolution with weight standardization."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


class Unusual(OneInput):
    """A subclass of a layer, transposed and grouped convolutions, group norm, a tensor with two readers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.standardized = Standardized(8, 8, 3, padding=1)
        self.side = nn.Conv2d(8, 8, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.out = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        y = torch.relu(self.stem(x))
        y = torch.relu(self.norm(self.standardized(y) + self.side(y)))
        return self.out(torch.relu(self.up(torch.relu(self.down(y))))) + x

    @staticmethod
    def batches(count, samples):
        numbers = torch.Generator().manual_seed(1)
        return [torch.randn(samples, 3, 8, 8, generator=numbers) for _ in range(count)]
