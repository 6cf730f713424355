"""Search without labels while a search is being put into a network, with the data loader that training will use."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat
from typing import Any

import torch
from torch import nn

from nncf_slb.config.training import ReconstructionConfig
from nncf_slb.hosts.dataflow import observe
from nncf_slb.search.batches import Batches, count, run_on, size_within_memory
from nncf_slb.search.batchnorm import preserved_modes
from nncf_slb.search.descent import MirrorDescent
from nncf_slb.search.fast_path import run_all_layers_
from nncf_slb.search.input_rounding import round_with_inputs, unrounded
from nncf_slb.search.matched_batchnorm import calibrate_to_target, matched_runner
from nncf_slb.search.processes import take_all_from_
from nncf_slb.search.reconstruction import Recipe, Reconstruction
from nncf_slb.search.runtime import FixedWeight
from nncf_slb.search.state import SearchState
from nncf_slb.search.unlabeled import collect

logger = logging.getLogger("nncf_slb")


def reconstruct(
    model: nn.Module,
    target: nn.Module,
    observed: list[str],
    fixed: Mapping[str, FixedWeight],
    search: SearchState,
    batches: Batches,
    settings: ReconstructionConfig,
) -> None:
    """Search until the codes give what the float network gives; training goes on from there, or an export.

    Args:
        model: Network with the search inside, which computes its weights together in each pass (`SearchState.watch`).
        target: Copy of the float network.
        observed: Paths of the modules whose outputs are kept.
        fixed: Weights of first and last layers in 8 bits, by the path of their layer in `target`.
        search: State of the search, which is as before afterwards.
        batches: Those of the data loader; labels are not used. Of processes that train together (`torch.distributed`),
            all take what the first one has found.
        settings: Samples and steps.

    Raises:
        nncf_slb.errors.DataError: If the loader gives what cannot be used.
        nncf_slb.search.finite.NotFiniteError: If the outputs become a NaN or an infinity.
    """
    started = time.perf_counter()
    # On the spot, so that samples are as many as asked for: loaders give batches.
    samples = collect(batches.take_samples(settings.num_samples), batches.inputs, settings.num_samples)
    run = partial(run_on, next(model.parameters()).device)
    target.eval()
    run_all_layers_(target)
    flow = observe(target, lambda: run(target, samples.sample))
    size = size_within_memory(flow.activation_bytes, count(samples.sample), settings.batch_size)
    numbers = torch.Generator().manual_seed(0)
    with preserved_modes(model), _preserved_gradients(model), search.preserved_phase():
        with unrounded(fixed):
            training = Reconstruction(model, target, search, observed, run, Recipe(steps=settings.steps))
            stream = chain.from_iterable(samples.shuffled(size, numbers) for _ in repeat(None))
            while not training.is_done:
                training.advance(next(stream))
            training.end()
            for weight in search.weights:
                if isinstance(weight.descent, MirrorDescent):
                    weight.descent.settle()
            if fixed:
                calibrate_to_target(model, target, run, samples.in_order(size))
                round_with_inputs(target, model, fixed, run, samples.in_order(size))
        take_all_from_(model, 0)  # each process has searched with its own share of the data
        calibrate_to_target(model, target, run, samples.in_order(size))
    logger.info(
        "slb: a search without labels took %.0f s for %d steps with %d samples",
        time.perf_counter() - started, settings.steps, len(samples),
    )  # fmt: skip


def runner_before(model: nn.Module, target: nn.Module | None, batches: Batches) -> Callable[[Any], object]:
    """Function that runs the network on a batch of the loader, as what comes next trains it.

    Args:
        model: Network with the search inside.
        target: Copy of the float network where `reconstruct` is next; None where training is.
        batches: Those of the data loader.
    """
    if target is None:
        return batches.runner(model)
    return matched_runner(model, target.eval(), lambda network, batch: batches.runner(network)(batch))


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
