"""Training of classifiers: cross-entropy, top-1."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nncf_slb.reports.facts import Score
from samples.classification.config import TASK
from samples.classification.datasets import DATASETS, Splits
from samples.training.settings import Task
from samples.training.trainer import Trainer


class Classification(Trainer):
    """One run of a classifier; scores are top-1 in per cent."""

    task: ClassVar[Task] = TASK
    score_name: ClassVar[str] = "top1"
    score: ClassVar[Score] = Score(name="top-1 accuracy", unit="%")
    score_format: ClassVar[str] = "top-1 {:.2f}%"

    def _load_data(self) -> Splits:
        return DATASETS[self.config["dataset"]](self.settings.data)

    def _network_arguments(self) -> dict[str, Any]:
        return {"num_classes": self.splits.num_classes}

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def evaluate(self, batches: Any, text: str = "evaluation") -> float:
        """Top-1 accuracy in per cent."""
        return top1(*self.predict(batches, text))

    def predict(self, batches: Any, text: str = "evaluation") -> tuple[Tensor, Tensor]:
        """Logits ``[images, classes]`` and labels of all batches, on the CPU."""
        logits, labels = zip(*self.outputs(batches, text), strict=True)
        return torch.cat(logits), torch.cat(labels)


def top1(logits: Tensor, labels: Tensor) -> float:
    """Share of right first choices, in per cent; logits ``[count, classes]``, labels ``[count]``."""
    return float((logits.argmax(1) == labels).double().mean() * 100)
