"""Search without labels or a training loop: a trained network and unlabeled inputs in, a low-bit network out."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from nncf_slb.bits import choice as bits_choice
from nncf_slb.bits.allocation import BudgetTooSmallError
from nncf_slb.bits.choice import OpenLayer, within_mean_bits
from nncf_slb.config.budget import AUTO
from nncf_slb.config.section import SLBConfig
from nncf_slb.errors import DataError, SettingError
from nncf_slb.hosts.torch.checkpoint import SearchFile, noted_interrupt
from nncf_slb.hosts.torch.dataflow import Dataflow, observe
from nncf_slb.hosts.torch.insertion import strip_
from nncf_slb.hosts.torch.measuring import Measurement, Score
from nncf_slb.hosts.torch.planning import Plan, matches, plan_search
from nncf_slb.hosts.torch.result import PostTraining
from nncf_slb.hosts.torch.search import Inserted, insert_search
from nncf_slb.hosts.torch.settings import post_training_config
from nncf_slb.search.activation_ranges import initialize_activations
from nncf_slb.search.batches import Inputs, first_of_batch
from nncf_slb.search.batchnorm import calibrate
from nncf_slb.search.finite import NotFiniteError, refuse_not_finite
from nncf_slb.search.outputs import floating_outputs
from nncf_slb.search.reconstruction import Progress, Recipe, Reconstruction
from nncf_slb.search.runtime import CodedWeight
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.unlabeled import Unlabeled, collect, count
from nncf_slb.search.values import make_values

logger = logging.getLogger("nncf_slb")

_SAMPLES, _LEAST = 2000, 2
_FEW = 100
_BATCH, _LEAST_BATCH = 200, 2
_BATCH_BYTES = 2**28  # of all activations of a batch in the float network
_HELD_OUT_SHARE, _HELD_OUT_AT_MOST = 1 / 8, 500
_CALIBRATION_SAMPLES = 2000


def search_post_training(
    model: nn.Module,
    images: Iterable[Any],
    *,
    bits: int | Literal["auto"] | None = None,
    activations: int | None = None,
    edges: int | str | None = None,
    budget: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    num_samples: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    score: Score | None = None,
    inputs: Inputs = first_of_batch,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> PostTraining:
    """Search the weights of a trained network with unlabeled samples.

    Args:
        model: Trained float network on any device and in any mode, which stays as it is: a copy is searched.
        images: Tensor ``[samples, ...]``, or an iterable of batches; of batches (inputs, labels) only the inputs are
            used. Samples beyond `num_samples`, up to 500, or else an eighth of all, measure the result.
        bits: Bits of a weight, 1 to 4, or ``auto``: chosen layer by layer within `budget`. By default 2.
        activations: Bits of the inputs of the layers: 1, 2, 4, 8, or 32 (default) for no rounding.
        edges: What first and last layers get: 8 bits (default), ``"float"`` or ``"search"``.
        budget: With bits ``auto``, such as ``{"mean_bits": 2.0}``.
        config: In place of these: an slb section, a whole NNCF config that holds one, or the path of either. Scopes are
            paths of modules, or ``{re}`` and a regular expression.
        num_samples: Samples to search with. By default 2,000, or what the config says.
        steps: Optimizer steps of up to 200 samples. By default 500, or what the config says.
        seed: Seed of the order of the samples; the same seed gives the same codes.
        score: Function that measures a network (called like `model`), higher is better. It is shown, and not used to
            choose anything.
        inputs: Positional and keyword arguments of the network from a batch of another kind.
        checkpoint: File to which the search is saved twice a minute and when it is interrupted, and from which the same
            call goes on, with the same bits.
        progress: Called after each step.

    Returns:
        The stripped network, its comparison with the float one, and a way to export it. Ctrl-C ends the search early
        and keeps what there is.

    Raises:
        nncf_slb.config.errors.ConfigError: On wrong settings, with all of them, or scopes that match nothing.
        nncf_slb.errors.SettingError: On arguments that cannot be used.
        nncf_slb.errors.DataError: On images that cannot be used, or a network that does not run on them.
        nncf_slb.hosts.torch.planning.NothingToSearchError: If no layer is left to search.
        nncf_slb.search.finite.NotFiniteError: If the network or its outputs hold a NaN or an infinity.

    Example:
        >>> searched = search_post_training(model, images, bits=2)  # doctest: +SKIP
        >>> searched.export("model.xml"); print(searched.report())  # doctest: +SKIP
    """
    settings = post_training_config(config, bits, activations, edges, budget)
    recipe, samples = _recipe(settings, steps), _samples(settings, num_samples)
    target = _float_copy(model)
    given = collect(images, inputs, samples + _HELD_OUT_AT_MOST)
    seen, held_out = given.split(min(samples, len(given) - max(1, int(len(given) * _HELD_OUT_SHARE))))
    if len(seen) < _FEW:
        logger.warning("slb: %d samples to search with are few; some hundreds give good results", len(seen))
    run = partial(_run, next(target.parameters()).device)
    flow = _observe(target, given, run)
    plan = plan_search(target, flow, settings)
    batch = _batch_size(flow, count(given.sample))
    chosen = _choose_bits(target, plan, settings, run, seen, batch)
    searched = copy.deepcopy(target)
    inserted = insert_search(searched, plan, settings, chosen)
    _begin(searched, inserted, partial(run, searched), seen, batch, settings.initializer.range.num_init_samples)
    measurement = Measurement(target, held_out, run, batch, score)
    rows = [measurement.float_row(), measurement.row("nearest", _stripped(searched))]
    observed = [layer.observed for layer in plan.searched.values()]
    training = Reconstruction(searched, target, inserted.search, observed, run, recipe)
    file = SearchFile(checkpoint, f"{settings.model_dump_json()}, {recipe}, {len(seen)} samples, seed {seed}")
    interrupted = _train(training, seen, batch, seed, file, progress)
    calibrate(searched, partial(run, searched), _first(seen.in_order(batch), _CALIBRATION_SAMPLES))
    stripped = _stripped(searched)
    rows.append(measurement.row("searched", stripped))
    args, kwargs = given.sample
    return PostTraining(
        model=stripped,
        rows=rows,
        bits={path: inserted.bits(path) for path in inserted.weights},
        full_precision=plan.full_precision,
        held_out=len(held_out),
        interrupted=interrupted,
        _example=(*args, kwargs) if kwargs else tuple(args),
        _row_of_file=measurement.row_of_file,
    )


def _recipe(settings: SLBConfig, steps: int | None) -> Recipe:
    stated = settings.initializer.reconstruction
    if steps is None:
        steps = Recipe().steps if stated is None else stated.steps
    if steps < 1:
        raise SettingError(f"steps: received {steps}; allowed is at least 1")
    return Recipe(steps=steps)


def _samples(settings: SLBConfig, num_samples: int | None) -> int:
    stated = settings.initializer.reconstruction
    if num_samples is None:
        return _SAMPLES if stated is None else stated.num_samples
    if num_samples < _LEAST:
        raise SettingError(f"num_samples: received {num_samples}; allowed is at least {_LEAST}")
    return num_samples


def _float_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode.

    Raises:
        SettingError: If the model is none, is compressed already, or cannot be copied.
        nncf_slb.search.finite.NotFiniteError: If it holds a NaN or an infinity.
    """
    if not isinstance(model, nn.Module):
        raise SettingError(f"model: received {type(model).__name__}; allowed is a torch module")
    if any(isinstance(module, CodedWeight | SearchableWeight) for module in model.modules()):
        raise SettingError("model: received one whose weights are searched or low-bit already; allowed is a float one")
    if next(model.parameters(), None) is None:
        raise SettingError(f"model: received {type(model).__name__} without parameters; allowed is a trained network")
    refuse_not_finite(model)
    try:
        return copy.deepcopy(model).eval()
    except Exception as error:  # whatever the user's classes raise
        raise SettingError(
            f"model: received {type(model).__name__}, which cannot be copied ({error}); allowed is a network that "
            "copy.deepcopy takes"
        ) from error


def _run(device: torch.device, network: nn.Module, arguments: Any) -> Any:
    """Run a network on arguments from memory."""
    args, kwargs = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, arguments)
    return network(*args, **kwargs)


def _observe(target: nn.Module, given: Unlabeled, run: Callable[[nn.Module, Any], Any]) -> Dataflow:
    """One pass of the float network.

    Raises:
        DataError: If it does not run on the images, or gives nothing that can be compared.
        nncf_slb.search.finite.NotFiniteError: If its outputs are not finite.
    """
    outputs: list[Any] = []
    try:
        flow = observe(target, lambda: outputs.append(run(target, given.sample)))
    except Exception as error:  # whatever the user's network raises
        raise DataError(
            f"images: the network does not run on them ({type(error).__name__}: {error}). Give batches as it takes "
            "them; of batches that are tuples or lists the first entry is taken for its input, and the argument "
            "'inputs' says otherwise"
        ) from error
    tensors = floating_outputs(outputs[0])
    if not tensors:
        raise DataError(
            f"model: it gives {type(outputs[0]).__name__} without a floating-point tensor, so there is nothing to "
            "compare; allowed are tensors, in lists, tuples and dictionaries"
        )
    if not all(bool(x.isfinite().all()) for x in tensors):
        raise NotFiniteError("the float network gives a NaN or an infinity on the first images; look at both")
    return flow


def _batch_size(flow: Dataflow, samples: int) -> int:
    """Samples of a step: as many as keep the activations of one pass within `_BATCH_BYTES`, 200 at most."""
    return max(_LEAST_BATCH, min(_BATCH, _BATCH_BYTES * samples // max(1, flow.activation_bytes)))


def _choose_bits(
    target: nn.Module,
    plan: Plan,
    settings: SLBConfig,
    run: Callable[[nn.Module, Any], Any],
    seen: Unlabeled,
    batch: int,
) -> dict[str, int]:
    """Bits of the layers whose settings say ``auto``, by path."""
    users: dict[int, list[str]] = {}
    for path, layer in plan.searched.items():
        users.setdefault(id(layer.module.weight), []).append(path)
    layers = []
    for paths in users.values():
        resolved = settings.weights.resolve(partial(_matches, paths[0]))
        if resolved.bits == AUTO:
            values = tuple(make_values(resolved.values, width) for width in resolved.candidates)
            layers.append(OpenLayer(paths, plan.searched[paths[0]].module, values))
    if not layers:
        return {}
    budget = settings.weights.budget
    assert budget is not None  # by the config, where bits are auto
    try:
        choice = within_mean_bits(layers, float(budget.mean_bits or 0))
    except BudgetTooSmallError as error:
        raise SettingError(
            f"budget.mean_bits: received {budget.mean_bits}; allowed is at least {error.smallest}, which the smallest "
            "candidates of all layers need"
        ) from error
    batches = _first(seen.in_order(batch), budget.samples)
    return bits_choice.choose_bits(target, layers, choice, partial(run, target), batches).bits


def _matches(path: str, scopes: list[str]) -> bool:
    return matches(path, scopes)


def _first(batches: Iterable[Any], samples: int) -> Iterator[Any]:
    """Batches with that many samples, rounded up to whole batches."""
    taken = 0
    for batch in batches:
        if taken >= samples:
            return
        yield batch
        taken += count(batch)


def _begin(
    searched: nn.Module, inserted: Inserted, run: Callable[[Any], Any], seen: Unlabeled, batch: int, samples: int
) -> None:
    """First steps of quantized inputs, and batch norm for the nearest values."""
    quantizers = dict.fromkeys(inserted.quantizers.values())
    if quantizers:
        initialize_activations(searched, inserted.search, quantizers, run, _first(seen.in_order(batch), samples))
    calibrate(searched, run, _first(seen.in_order(batch), _CALIBRATION_SAMPLES))


def _stripped(searched: nn.Module) -> nn.Module:
    """The low-bit network as it is now; the searched one stays."""
    stripped = copy.deepcopy(searched)
    strip_(stripped)
    return stripped.eval()


def _train(
    training: Reconstruction, seen: Unlabeled, batch: int, seed: int, file: SearchFile,
    progress: Callable[[Progress], None] | None,
) -> bool:  # fmt: skip
    """Take all steps that are left.

    Returns:
        Whether Ctrl-C ended it before.
    """
    file.load(training)
    with noted_interrupt() as interrupt:
        for arguments in _stream(seen, batch, seed, training.step):
            if training.is_done or interrupt.is_set():
                break
            state = training.advance(arguments)
            if progress is not None:
                progress(state)
            file.save(training)
    file.save(training, now=True)
    if not training.is_done:
        logger.warning("slb: interrupted at step %d; what the search has found so far is kept", training.step)
    training.end()
    return not training.is_done


def _stream(seen: Unlabeled, batch: int, seed: int, skipped: int) -> Iterator[Any]:
    """Batches without end, from the one that comes after `skipped` of them."""
    numbers = torch.Generator().manual_seed(seed)
    index = 0
    while True:
        for arguments in seen.shuffled(batch, numbers):
            if index >= skipped:
                yield arguments
            index += 1
