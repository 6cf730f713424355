"""A detector without anchors: each cell of a grid says whether a centre lies in it, of which shape, and where."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from samples.detection.shapes import SHAPES, SIZE

STRIDE = 8  # pixels of a cell
_CHANNELS = (8, 16, 24)
_LARGEST = 16.0  # unit of widths and heights, in pixels
_KEPT = 0.05  # detections with a lower score are dropped


class Detector(nn.Module):
    """Backbone and head; outputs ``[batch, 1 + 4 + shapes, SIZE / STRIDE, SIZE / STRIDE]``.

    Channels: logit of an object; offset of its centre from the cell's, in cells; its width and height, in units of 16
    pixels; logits of the shapes.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for channels in _CHANNELS:
            layers += [
                nn.Conv2d(before, channels, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
            layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            before = channels
        self.backbone = nn.Sequential(*layers)
        self.head = nn.Conv2d(before, 1 + 4 + len(SHAPES), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of images ``[batch, 1, SIZE, SIZE]``."""
        outputs: Tensor = self.head(self.backbone(x))
        return outputs


def targets(objects: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """What the outputs should be.

    Args:
        objects: As from `drawn_shapes`.

    Returns:
        Whether a centre lies in a cell, ``[images, rows, columns]``; offsets, width and height there,
        ``[images, 4, rows, columns]``; index of the shape, int64.
    """
    cells = SIZE // STRIDE
    present = torch.zeros(len(objects), cells, cells)
    boxes, shapes = (
        torch.zeros(len(objects), 4, cells, cells),
        torch.zeros(len(objects), cells, cells, dtype=torch.long),
    )
    for image, found in enumerate(objects):
        for shape, left, top, right, bottom in found.tolist():
            x, y = (left + right) / 2 / STRIDE, (top + bottom) / 2 / STRIDE
            row, column = int(y), int(x)
            present[image, row, column] = 1
            size = [(right - left) / _LARGEST, (bottom - top) / _LARGEST]
            boxes[image, :, row, column] = torch.tensor([x - column - 0.5, y - row - 0.5, *size])
            shapes[image, row, column] = int(shape)
    return present, boxes, shapes


def loss(outputs: Tensor, present: Tensor, boxes: Tensor, shapes: Tensor) -> Tensor:
    """Cross entropies of presence and shape and the absolute error of the box, each a mean."""
    there = present.bool()
    box_error = (outputs[:, 1:5] - boxes).abs().mean(1)[there].mean()
    shape_error = functional.cross_entropy(outputs[:, 5:].permute(0, 2, 3, 1)[there], shapes[there])
    return functional.binary_cross_entropy_with_logits(outputs[:, 0], present) + box_error + shape_error


def detections(outputs: Tensor) -> list[Tensor]:
    """Boxes of each image, best first.

    Args:
        outputs: As from `Detector`.

    Returns:
        For each image ``[detections, 6]``: score from 0 to 1, index of the shape, left, top, right, bottom.
    """
    scores, shapes = outputs[:, 5:].softmax(1).max(1)
    scores = scores * outputs[:, 0].sigmoid()
    # Of neighbouring cells only the one with the best score counts.
    scores = scores * (scores == functional.max_pool2d(scores[:, None], 3, stride=1, padding=1)[:, 0])
    rows, columns = torch.meshgrid(torch.arange(outputs.shape[2]), torch.arange(outputs.shape[3]), indexing="ij")
    x, y = (columns + 0.5 + outputs[:, 1]) * STRIDE, (rows + 0.5 + outputs[:, 2]) * STRIDE
    width, height = outputs[:, 3] * _LARGEST / 2, outputs[:, 4] * _LARGEST / 2
    found = torch.stack([scores, shapes.to(scores), x - width, y - height, x + width, y + height], -1).flatten(1, 2)
    kept = [image[image[:, 0] > _KEPT] for image in found]
    return [image[image[:, 0].argsort(descending=True)] for image in kept]
