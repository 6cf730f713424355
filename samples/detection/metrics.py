"""Mean average precision of boxes that overlap the true ones by half."""

from __future__ import annotations

import torch
from torch import Tensor

from samples.detection.shapes import SHAPES

_OVERLAP = 0.5


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union ``[boxes, others]`` of boxes (left, top, right, bottom)."""
    first, last = (
        torch.maximum(boxes[:, None, :2], others[None, :, :2]),
        torch.minimum(boxes[:, None, 2:], others[None, :, 2:]),
    )
    shared = (last - first).clamp(min=0).prod(-1)
    areas = [(x[:, 2:] - x[:, :2]).clamp(min=0).prod(-1) for x in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared).clamp(min=1e-9)


def mean_average_precision(found: list[Tensor], objects: list[Tensor]) -> float:
    """Area under the curve of precision over recall, in %, mean over the shapes.

    Args:
        found: As from `detections`, one entry for each image.
        objects: As from `drawn_shapes`.
    """
    return 100 * sum(_average_precision(found, objects, shape) for shape in range(len(SHAPES))) / len(SHAPES)


def _average_precision(found: list[Tensor], objects: list[Tensor], shape: int) -> float:
    scores, right, total = [], [], 0
    for boxes, truth in zip(found, objects, strict=True):
        boxes, truth = boxes[boxes[:, 1] == shape], truth[truth[:, 0] == shape]
        total += len(truth)
        free = torch.ones(len(truth), dtype=torch.bool)
        for score, overlap in zip(boxes[:, 0].tolist(), overlaps(boxes[:, 2:], truth[:, 1:]), strict=True):
            best = int((overlap * free).argmax()) if len(truth) else 0
            hit = bool(len(truth) and free[best] and overlap[best] >= _OVERLAP)
            if hit:
                free[best] = False
            scores.append(score)
            right.append(hit)
    hits = torch.tensor(right, dtype=torch.float32)[torch.tensor(scores).argsort(descending=True)].cumsum(0)
    precision, recall = hits / torch.arange(1, len(hits) + 1), hits / max(total, 1)
    # Precision at a recall is the best one at this recall or a higher one.
    envelope = precision.flip(0).cummax(0).values.flip(0) if len(hits) else precision
    return float((envelope * torch.diff(recall, prepend=torch.zeros(1))).sum())
