"""Search without labels while the compressed network is created, with the registered data loader."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat

import torch
from nncf.torch.nncf_network import NNCFNetwork
from torch import nn

from nncf_slb.config.training import ReconstructionConfig
from nncf_slb.hosts.dataflow import observe
from nncf_slb.hosts.nncf2.network import run_as_traced
from nncf_slb.hosts.nncf2.planning import SearchPlan
from nncf_slb.search.batches import Batches, run_on
from nncf_slb.search.batchnorm import calibrate, preserved_modes
from nncf_slb.search.descent import MirrorDescent
from nncf_slb.search.reconstruction import Recipe, Reconstruction
from nncf_slb.search.state import SearchState
from nncf_slb.search.unlabeled import collect

logger = logging.getLogger("nncf_slb")

_BATCH = 200


def reconstruct(
    model: NNCFNetwork,
    target: NNCFNetwork,
    plan: SearchPlan,
    search: SearchState,
    batches: Batches,
    settings: ReconstructionConfig,
) -> None:
    """Search until the codes give what the float network gives; training goes on from there, or an export.

    Args:
        model: NNCF network with the search inside.
        target: Copy of the float network.
        plan: Layers that are searched.
        search: State of the search, which is as before afterwards.
        batches: Those of the registered data loader; labels are not used.
        settings: Samples and steps.

    Raises:
        nncf_slb.errors.DataError: If the loader gives what cannot be used.
        nncf_slb.search.finite.NotFiniteError: If the outputs become a NaN or an infinity.
    """
    started = time.perf_counter()
    # On the spot, so that samples are as many as asked for: loaders give batches.
    samples = collect(batches.take_samples(settings.num_samples), batches.inputs, settings.num_samples)
    device = next(model.parameters()).device
    run = partial(run_on, device)
    target.eval()
    flow = observe(target, lambda: run_as_traced(target))
    paths = {id(module): path for path, module in model.named_modules()}
    observed = {layer.path: layer.observed for layer in flow.layers}
    kept = [observed[paths[id(layer)]] for layer in plan.layers.values()]
    numbers = torch.Generator().manual_seed(0)
    with preserved_modes(model), _preserved_gradients(model), search.preserved_phase():
        search.watch(model)
        try:
            training = Reconstruction(model, target, search, kept, run, Recipe(steps=settings.steps))
            stream = chain.from_iterable(samples.shuffled(_BATCH, numbers) for _ in repeat(None))
            while not training.is_done:
                training.advance(next(stream))
            training.end()
        finally:
            search.unwatch(model)
        for weight in search.weights:
            if isinstance(weight.descent, MirrorDescent):
                weight.descent.settle()
        calibrate(model, partial(run, model), samples.in_order(_BATCH))
    logger.info(
        "slb: a search without labels took %.0f s for %d steps with %d samples",
        time.perf_counter() - started, settings.steps, len(samples),
    )  # fmt: skip


@contextmanager
def _preserved_gradients(model: nn.Module) -> Iterator[None]:
    """What training is to train is as before afterwards, without gradients."""
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
            parameter.grad = None
