"""Images with one or two drawn shapes, and the boxes around them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SHAPES = ("circle", "square", "triangle")
SIZE = 48  # pixels of a side
_MOST = 2
_SMALLEST, _LARGEST = 5, 10  # pixels from the centre to a side of the box
_NOISE = 0.35

Array = np.ndarray


def drawn_shapes(count: int, seed: int) -> tuple[Tensor, list[Tensor]]:
    """Draw images.

    Args:
        count: Number of images.
        seed: The same seed gives the same images.

    Returns:
        Images, float32 ``[count, 1, SIZE, SIZE]``, and for each image its objects, float32 ``[objects, 5]``: index of
        the shape, then left, top, right and bottom in pixels.
    """
    random = np.random.default_rng(seed)
    images, objects = np.empty((count, 1, SIZE, SIZE), np.float32), []
    for image in images:
        # Centres in different halves of the image, so that shapes lie side by side.
        halves = random.permutation(_MOST)[: random.integers(1, _MOST + 1)]
        image[0] = random.uniform(-0.3, 0.3) + random.uniform(-0.3, 0.3) * np.linspace(-1, 1, SIZE)[:, None]
        objects.append(torch.tensor(np.array([_draw(image[0], half, random) for half in halves], np.float32)))
        image += random.normal(0, _NOISE, image.shape)
    return torch.from_numpy(images), objects


def _draw(image: Array, half: int, random: np.random.Generator) -> list[float]:
    """Draw one shape; its index and box."""
    shape, radius = int(random.integers(len(SHAPES))), random.uniform(_SMALLEST, _LARGEST)
    width = SIZE / _MOST
    x = half * width + random.uniform(radius, width - radius) if radius < width / 2 else (half + 0.5) * width
    y = random.uniform(radius, SIZE - radius)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    image[_inside(SHAPES[shape], (columns - x) / radius, (rows - y) / radius)] += random.choice(
        (-1, 1)
    ) * random.uniform(0.5, 1.0)
    return [shape, x - radius, y - radius, x + radius, y + radius]


def _inside(shape: str, x: Array, y: Array) -> Array:
    """Pixels of a shape whose box reaches from -1 to 1."""
    if shape == "circle":
        return np.asarray(x**2 + y**2 <= 1)
    box = np.maximum(abs(x), abs(y)) <= 1
    return np.asarray(box if shape == "square" else box & (abs(x) <= (y + 1) / 2))
