"""First steps and clipping values of quantized activations, from data."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.batchnorm import batch_statistics, preserved_modes
from nncf_slb.search.state import SearchState, WeightKind


@torch.no_grad()
def initialize_activations(
    model: nn.Module,
    search: SearchState,
    quantizers: Iterable[ActivationQuantizer],
    run_batch: Callable[[object], object],
    batches: Iterable[object],
) -> None:
    """Fit quantizers to what they see of the network with expected weights.

    Batch norm uses each batch's own statistics meanwhile, as training does: those of the float network no longer hold
    behind signs or random logits, and the quantized inputs mostly come from batch norm. Before a search without labels
    `run_batch` matches batch norm, as that search does (`nncf_slb.search.matched_batchnorm.matched_runner`).

    Args:
        model: Model that holds the modules; its state, but for the quantizers', stays as it was.
        search: State of its searched weights.
        quantizers: Quantizers to fit, each of which sees unrounded inputs until all of them are fitted.
        run_batch: Runs the model on one item of `batches`.
        batches: Input batches.
    """
    quantizers = list(quantizers)
    with preserved_modes(model), search.using(WeightKind.EXPECTED):
        model.eval()
        for quantizer in quantizers:
            quantizer.observe()
        with batch_statistics(model):
            for batch in batches:
                run_batch(batch)
    for quantizer in quantizers:
        quantizer.finish()
