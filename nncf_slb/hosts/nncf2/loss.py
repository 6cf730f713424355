"""Optional confidence loss behind NNCF's `CompressionLoss` interface."""

from __future__ import annotations

import torch
from nncf.torch.compression_method_api import PTCompressionLoss
from torch import Tensor

from nncf_slb.search.searchable import SearchableWeight


class ConfidenceLoss(PTCompressionLoss):  # type: ignore[misc]
    """``weight * mean(1 - max_k p_k)`` over all searched weights; zero when `weight` is 0 or the search has ended.

    Not in the paper, whose loss is the task's alone; it pushes undecided weights towards one value.
    """

    def __init__(self, searchable: list[SearchableWeight], weight: float) -> None:
        super().__init__()
        self._searchable = searchable
        self._weight = weight

    def calculate(self) -> Tensor:
        """Scalar loss on the device of the logits."""
        active = [s for s in self._searchable if not s.phase.discrete]
        if not self._weight or not active:
            device = self._searchable[0].logits.device if self._searchable else None
            return torch.zeros([], device=device)
        doubt = torch.zeros([], device=active[0].logits.device)
        for searchable in active:
            doubt = doubt + (1 - searchable.confidence()).sum()
        return self._weight * doubt / sum(s.weight_shape.numel() for s in active)
