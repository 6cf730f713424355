"""Search without labels or a training loop: a trained network and unlabeled inputs in, a low-bit network out."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args

from torch import nn

from nncf_slb.config.budget import AUTO
from nncf_slb.config.section import SLBConfig
from nncf_slb.config.training import ReconstructionConfig
from nncf_slb.errors import SettingError
from nncf_slb.files import problem_of_path, problem_of_writing
from nncf_slb.hosts.torch.measuring import Score
from nncf_slb.hosts.torch.result import PostTraining, Row
from nncf_slb.hosts.torch.settings import post_training_config, refuse_beside
from nncf_slb.hosts.torch.task import HELD_OUT_AT_MOST, Found, Granularity, Task
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.batches import Inputs, first_of_batch
from nncf_slb.search.reconstruction import Progress, Recipe
from nncf_slb.search.unlabeled import collect

logger = logging.getLogger("nncf_slb")

_LEAST = 2
_MEAN_BITS_STEP = 0.25
_WIDEST = 4
_SEEDS = 2**63
_VERIFIED = 64  # samples that a file is compared with PyTorch on, for a report


def search_post_training(
    model: nn.Module,
    images: Iterable[Any],
    *,
    bits: int | Literal["auto"] | None = None,
    activations: int | None = None,
    edges: int | str | None = None,
    budget: Mapping[str, Any] | None = None,
    max_drop: float | None = None,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    num_samples: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    granularity: Granularity = "network",
    seed: int = 0,
    score: Score | None = None,
    inputs: Inputs = first_of_batch,
    dry_export: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    log_dir: str | os.PathLike[str] | None = None,
) -> PostTraining:
    """Search the weights of a trained network with unlabeled samples.

    Args:
        model: Trained float network on any device and in any mode, which stays as it is: a copy is searched.
        images: Tensor ``[samples, ...]``, or an iterable of batches; of batches (inputs, labels) only the inputs are
            used. Samples beyond `num_samples`, up to 500, or else an eighth of all, measure the result.
        bits: Bits of a weight, 1 to 4, or ``auto``: chosen layer by layer within `budget`. By default 2.
        activations: Bits of the inputs of the layers: 1, 2, 4, 8, or 32 (default) for no rounding.
        edges: What first and last layers get: 8 bits (default), ``"float"`` or ``"search"``.
        budget: With bits ``auto``: ``{"mean_bits": 2.0}`` or ``{"bytes": 22000}`` of the exported ``.bin``.
        max_drop: In place of bits and budget: points of the score, or of the agreement where there is no score, that
            may be lost to the float network. About four searches find the fewest bits that hold it.
        config: In place of these: an slb section, a whole NNCF config that holds one, or the path of either. Scopes are
            paths of modules, or ``{re}`` and a regular expression.
        num_samples: Samples to search with. By default 2,000, or what the config says.
        steps: Optimizer steps. By default 1,000, or what the config says.
        batch_size: Samples of a step; fewer where the activations of the float network would take more than 640 MiB.
            By default 100, or what the config says. With half as many a search takes about three quarters of the time.
            Only at 1 bit does it lose more.
        granularity: What is trained at once: the whole ``network``, or one ``block`` after the other, for networks
            whose activations do not fit into memory; it loses a little more. Blocks take `steps` steps each, of which
            400 are enough, and room for temporary files.
        seed: Seed of the order of the samples; the same seed gives the same codes.
        score: Function that measures a network (called like `model`), higher is better. It is shown, and chooses
            nothing but the bits with `max_drop`.
        inputs: Positional and keyword arguments of the network from a batch of another kind.
        dry_export: Whether the network is converted to OpenVINO before the search, in memory only, so that what cannot
            be exported costs no search. By default True, or what the config says.
        checkpoint: File to which the search is saved twice a minute, when it is interrupted and when it fails, and from
            which the same call goes on, with the same bits.
        progress: Called after each step.
        log_dir: Folder to which the search writes its numbers as it goes. ``nncf-slb report`` makes a page of them.

    Returns:
        The stripped network, its comparison with the float one, and a way to export it. Ctrl-C ends the search early
        and keeps what there is.

    Raises:
        nncf_slb.config.errors.ConfigError: On wrong settings, with all of them, or scopes that match nothing.
        nncf_slb.errors.SettingError: On arguments that cannot be used.
        nncf_slb.errors.DataError: On images that cannot be used, or a network that does not run on them.
        nncf_slb.openvino.low_bit_model.ExportError: If the network cannot be exported, unless `dry_export` is False.
        nncf_slb.hosts.torch.planning.NothingToSearchError: If no layer is left to search.
        nncf_slb.search.finite.NotFiniteError: If the network or its outputs hold a NaN or an infinity.
        nncf_slb.search.reconstruction.UntrainableError: If no gradient reaches the weights.

    Example:
        >>> searched = search_post_training(model, images, bits=2)  # doctest: +SKIP
        >>> searched.export("model.xml"); print(searched.report())  # doctest: +SKIP
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile was given
    _refuse_other_types(seed, score, progress, checkpoint, log_dir)
    if max_drop is not None:
        refuse_beside(config, f"max_drop: received {max_drop}")
        bits = _auto(max_drop, bits, budget)
        budget = {"mean_bits": float(_WIDEST)}
    settings = post_training_config(config, bits, activations, edges, budget, dry_export)
    samples = _samples(settings, num_samples)
    given = collect(images, inputs, samples + HELD_OUT_AT_MOST)
    recipe = _recipe(settings, steps, batch_size)
    task = Task(model, given, samples, settings, recipe, _granularity(granularity), int(seed), score, log_dir)
    task.try_export()
    reference = task.measurement.float_row()
    path = None if checkpoint is None else os.fspath(checkpoint)
    if max_drop is not None:
        found = _fewest_bits(task, reference, max_drop, path, progress)
    else:
        budgeted = settings.weights.budget
        chosen = task.bits.within(budgeted, task.example, LoweringSettings()) if budgeted else {}
        found = task.search(chosen, path, progress)
    args, kwargs = task.example
    rows = [reference, found.nearest, found.searched]
    task.recording.finish(rows, found.interrupted, found.name)
    return PostTraining(
        model=found.model,
        rows=rows,
        bits=found.bits,
        full_precision=task.plan.full_precision,
        held_out=len(task.held_out),
        interrupted=found.interrupted,
        _target=task.target,
        _example=(*args, kwargs),
        _row_of_file=task.measurement.row_of_file,
        _samples=next(task.held_out.in_order(_VERIFIED)),
        _recording=task.recording,
    )


def _refuse_other_types(seed: Any, score: Any, progress: Any, checkpoint: Any, log_dir: Any) -> None:
    """Raise one error for all arguments of other kinds."""
    problems = []
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= int(seed) < _SEEDS:
        problems.append(f"seed: received {seed!r}; allowed is an integer from 0 to 2**63 - 1")
    for name, function in (("score", score), ("progress", progress)):
        if function is not None and not callable(function):
            problems.append(f"{name}: received {function!r}; allowed is a function")
    for name, path in (("checkpoint", checkpoint), ("log_dir", log_dir)):
        problem = "" if path is None else problem_of_path(path)
        if name == "checkpoint" and path is not None and not problem:
            problem = problem_of_writing(Path(path))
        if problem:
            problems.append(f"{name}: received {problem}")
    if problems:
        raise SettingError("\n".join(problems))


def _auto(max_drop: float, bits: Any, budget: Any) -> Literal["auto"]:
    if not isinstance(max_drop, Real) or not max_drop > 0:
        raise SettingError(f"max_drop: received {max_drop!r}; allowed is a number above 0, in points")
    if bits not in (None, AUTO) or budget is not None:
        name, value = ("budget", budget) if budget is not None else ("bits", bits)
        raise SettingError(f"max_drop: received {max_drop} beside {name} {value!r}; allowed is one of them")
    return AUTO


def _fewest_bits(
    task: Task, reference: Row, max_drop: float, checkpoint: str | None, progress: Callable[[Progress], None] | None
) -> Found:
    """The search with the least mean bits, in quarters, that loses no more than `max_drop` points.

    Raises:
        SettingError: If there is nothing that a loss can be told from, or even the most bits lose more.
    """
    if not task.bits.widths:
        raise SettingError(
            f"max_drop: received {max_drop} beside a config that states the bits of every layer; allowed is one of them"
        )
    if reference.score is not None and not math.isfinite(reference.score):
        raise SettingError(
            f"max_drop: received {max_drop} with a score of {reference.score} for the float network; allowed is a "
            "function that gives a finite number"
        )
    if reference.score is None and task.measurement.unit(task.example) != "%":
        raise SettingError(
            f"max_drop: received {max_drop} without a score for a network that gives no classes; allowed with a score"
        )
    low, high = task.bits.widths[0], task.bits.widths[-1]
    budgets = [low + index * _MEAN_BITS_STEP for index in range(int((high - low) / _MEAN_BITS_STEP) + 1)]
    first, last = 0, len(budgets) - 1
    best: Found | None = None
    drops: dict[float, float] = {}
    while first <= last:
        middle = (first + last) // 2
        mean_bits = budgets[middle]
        file = None if checkpoint is None else f"{checkpoint}-{mean_bits:g}"
        found = task.search(task.bits.within_mean(mean_bits), file, progress, f"{mean_bits:g} mean bits")
        drops[mean_bits] = _drop(reference, found.searched)
        logger.info("slb: %g mean bits lose %.2f points", mean_bits, drops[mean_bits])
        if drops[mean_bits] <= max_drop:
            best, last = found, middle - 1
        else:
            first = middle + 1
        if found.interrupted:
            return best or found
    if best is None:
        lost = ", ".join(f"{bits:g} mean bits {drop:.2f}" for bits, drop in sorted(drops.items()))
        raise SettingError(f"max_drop: received {max_drop}; allowed is what some bits hold, and these lose: {lost}")
    return best


def _drop(reference: Row, row: Row) -> float:
    """Points lost to the float network."""
    if reference.score is not None:
        if row.score is None or math.isnan(row.score):
            raise SettingError("max_drop: the score gives no number for a searched network, so nothing tells its loss")
        return reference.score - row.score
    assert row.agreement is not None  # only the float network has none
    return 100.0 - row.agreement.value


def _recipe(settings: SLBConfig, steps: int | None, batch_size: int | None) -> Recipe:
    stated = settings.initializer.reconstruction or ReconstructionConfig()
    steps = stated.steps if steps is None else steps
    batch_size = stated.batch_size if batch_size is None else batch_size
    _refuse_less("steps", steps, 1)
    _refuse_less("batch_size", batch_size, _LEAST)
    return Recipe(steps=steps, batch_size=batch_size)


def _granularity(granularity: Granularity) -> Granularity:
    allowed = get_args(Granularity)
    if granularity not in allowed:
        raise SettingError(f"granularity: received {granularity!r}; allowed: {', '.join(map(repr, allowed))}")
    return granularity


def _samples(settings: SLBConfig, num_samples: int | None) -> int:
    if num_samples is None:
        return (settings.initializer.reconstruction or ReconstructionConfig()).num_samples
    _refuse_less("num_samples", num_samples, _LEAST)
    return num_samples


def _refuse_less(name: str, received: Any, least: int) -> None:
    if not isinstance(received, Integral) or received < least:
        raise SettingError(f"{name}: received {received!r}; allowed is an integer of at least {least}")
