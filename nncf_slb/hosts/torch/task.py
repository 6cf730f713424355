"""One search without labels: the networks, the samples and the settings, and how they are used."""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import Any, Literal, NamedTuple

from torch import nn

from nncf_slb.config.section import SLBConfig
from nncf_slb.errors import DataError, SettingError
from nncf_slb.hosts.copying import copied
from nncf_slb.hosts.dataflow import Dataflow, observe
from nncf_slb.hosts.model_checks import model_problems
from nncf_slb.hosts.torch.bits import Bits, BitsByMeasurement
from nncf_slb.hosts.torch.block_search import BlockSearch, shuffled
from nncf_slb.hosts.torch.checkpoint import Origin, SearchFile, noted_interrupt
from nncf_slb.hosts.torch.dry_export import dry_export
from nncf_slb.hosts.torch.insertion import strip_
from nncf_slb.hosts.torch.measuring import Measurement, Score
from nncf_slb.hosts.torch.planning import plan_search
from nncf_slb.hosts.torch.recording import SearchRecording
from nncf_slb.hosts.torch.result import Row
from nncf_slb.hosts.torch.search import Inserted, insert_search
from nncf_slb.hosts.torch.steps import endless, take_steps
from nncf_slb.openvino.call_form import Arguments
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.activation_ranges import initialize_activations
from nncf_slb.search.batches import count, run_on, size_within_memory
from nncf_slb.search.fast_path import run_all_layers_
from nncf_slb.search.finite import NotFiniteError, refuse_not_finite
from nncf_slb.search.input_rounding import round_with_inputs, unrounded
from nncf_slb.search.matched_batchnorm import calibrate_to_target, matched_runner
from nncf_slb.search.outputs import floating_outputs
from nncf_slb.search.reconstruction import Progress, Recipe, Reconstruction
from nncf_slb.search.runtime import CodedWeight
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.unlabeled import HALF, Unlabeled

logger = logging.getLogger("nncf_slb")

Granularity = Literal["network", "block"]
_LEAST, _FEW = 2, 100
_HELD_OUT_SHARE = 1 / 8
HELD_OUT_AT_MOST = 500
_CALIBRATION_SAMPLES = 2000
_ROUNDING_SAMPLES = 1000
_SENSITIVITY_SAMPLES = 512


@dataclass(frozen=True)
class Found:
    """What one search has found.

    Attributes:
        model: Stripped network in eval mode.
        nearest: Nearest values, before the search.
        searched: The network that was found.
        bits: Bits of the weights by layer, first and last layers included.
        interrupted: Whether the search ended before all steps were done.
        name: Name of the search, where there were several.
    """

    model: nn.Module
    nearest: Row
    searched: Row
    bits: Bits
    interrupted: bool
    name: str | None = None


class Task:
    """A network and its samples, checked and ready to be searched.

    Args:
        model: Float network, which stays as it is.
        given: Its samples.
        samples: How many of them to search with at most; the others measure.
        settings: Settings.
        recipe: How to train.
        granularity: What is trained at once: ``network`` or ``block``.
        seed: Seed of the order of the samples.
        score: The user's own measure; None for none.
        log_dir: Folder for what a report shows; None for none.

    Attributes:
        recording: Writes what a report shows.
        plan: What becomes of each layer.
        bits: Chooses bits by measurement.
        example: One sample.
        measurement: Measures networks with the samples that no search sees.
        batch: Samples of a step.
    """

    def __init__(
        self, model: nn.Module, given: Unlabeled, samples: int, settings: SLBConfig, recipe: Recipe,
        granularity: Granularity, seed: int, score: Score | None, log_dir: str | os.PathLike[str] | None = None,
    ) -> None:  # fmt: skip
        self._settings, self._recipe, self._granularity, self._seed = settings, recipe, granularity, seed
        self._target = _float_copy(model)
        held_out = max(1, int(len(given) * _HELD_OUT_SHARE))
        self._seen, self.held_out = given.split(min(samples, len(given) - held_out))
        if len(self._seen) < _LEAST:
            raise DataError(
                f"images: received {len(given)} samples; allowed are {_LEAST + 1} or more, since one of them measures. "
                "Some hundreds give good results, 2,000 the best"
            )
        if len(self._seen) < _FEW:
            logger.warning("slb: %d samples to search with are few; some hundreds give good results", len(self._seen))
        self._run = partial(run_on, next(self._target.parameters()).device)
        few = next(given.in_order(_LEAST))
        flow = _observe(self._target, few, self._run)
        self.plan = plan_search(self._target, flow, settings)
        self.batch = size_within_memory(flow.activation_bytes, count(few), recipe.batch_size)
        self.example: Arguments = given.sample
        self.measurement = Measurement(self._target, self.held_out, self._run, self.batch, score)
        self.bits = BitsByMeasurement(self._target, self.plan, settings)
        if self.bits.widths:
            budget = settings.weights.budget
            needed = _SENSITIVITY_SAMPLES if budget is None else budget.samples
            self.bits.measure(partial(self._run, self._target), self._some(needed))
        measured = {name: dict(found) for name, found in self.bits.measured.items()}
        self.recording = SearchRecording(log_dir, self._target, settings, measured)

    @property
    def target(self) -> nn.Module:
        """Copy of the float network."""
        return self._target

    def try_export(self) -> None:
        """Export the network in memory before the search, if the settings say so.

        Raises:
            nncf_slb.openvino.low_bit_model.ExportError: If it cannot be exported.
        """
        if self._settings.openvino.dry_export:
            bits = self.bits.near(min(self.bits.widths, default=0))
            dry_export(self._target, self.plan, self._settings, bits, self.example, LoweringSettings())

    def search(
        self, bits: Bits, checkpoint: str | None, progress: Callable[[Progress], None] | None, name: str | None = None
    ) -> Found:
        """Search with these bits of the layers whose settings say ``auto``.

        Args:
            bits: Bits by path.
            checkpoint: File to go on from and to save to; None for none.
            progress: Called after each step.
            name: Name of the search, where there are several.
        """
        searched = copy.deepcopy(self._target)
        inserted = insert_search(searched, self.plan, self._settings, bits)
        self._begin(searched, inserted)
        nearest = self.measurement.row("nearest", _stripped(searched))
        origin = None if checkpoint is None else Origin.of(self._target, self._seen, self._run)
        steps = _Steps(checkpoint, f"{self._settings.model_dump_json()}, {bits}", origin, progress, name)
        search = self._search_blocks if self._granularity == "block" else self._search_network
        with unrounded(inserted.fixed):
            with noted_interrupt() as interrupt:
                is_done = search(searched, inserted, steps, interrupt)
            if inserted.fixed:
                self._calibrate(searched)
                seen = self._some(_ROUNDING_SAMPLES)
                round_with_inputs(self._target, searched, inserted.fixed, self._run, seen)
        self._calibrate(searched)
        stripped = _stripped(searched)
        found = {path: inserted.bits(path) for path in inserted.weights}
        return Found(stripped, nearest, self.measurement.row("searched", stripped), found, not is_done, name)

    def _begin(self, searched: nn.Module, inserted: Inserted) -> None:
        """First steps of quantized inputs, and batch norm for the nearest values."""
        run = matched_runner(searched, self._target, self._run)
        quantizers = dict.fromkeys(inserted.quantizers.values())
        if quantizers:
            seen = self._some(self._settings.initializer.range.num_init_samples)
            initialize_activations(searched, inserted.search, quantizers, run, seen)
        self._calibrate(searched)

    def _calibrate(self, searched: nn.Module) -> None:
        calibrate_to_target(searched, self._target, self._run, self._some(_CALIBRATION_SAMPLES))

    def _some(self, samples: int) -> Iterator[Any]:
        return _first(self._seen.in_order(self.batch), samples)

    def _search_network(
        self, searched: nn.Module, inserted: Inserted, steps: _Steps, interrupt: threading.Event
    ) -> bool:
        """Search the whole network at once; returns whether all steps were done."""
        observed = [layer.observed for layer in self.plan.searched.values() if layer.observed]
        training = Reconstruction(searched, self._target, inserted.search, observed, self._run, self._recipe)
        file = self._file(steps, self._recipe)
        file.load(training)
        self.recording.begin(inserted, self.plan, training.step, self._recipe.steps, steps.name)
        batches = endless(partial(self._seen.shuffled, self.batch), self._seed, training.step)
        take_steps(training, file, batches, partial(self._note, steps), interrupt)
        return training.is_done

    def _search_blocks(
        self, searched: nn.Module, inserted: Inserted, steps: _Steps, interrupt: threading.Event
    ) -> bool:
        """Search one block after the other; returns whether all steps were done."""
        blocks = BlockSearch(self._target, searched, inserted, self.plan, self._run, self._recipe, self._seen.first(2))
        batch = size_within_memory(blocks.activation_bytes, count(self.example), self._recipe.batch_size)
        files = [self._file(steps, blocks.recipe, block.path) for block in blocks.blocks]
        done, total = sum(file.done() for file in files), len(files) * self._recipe.steps
        self.recording.begin(inserted, self.plan, done, total, steps.name)
        for index, (block, file) in enumerate(zip(blocks.blocks, files, strict=True)):
            seen = takewhile(lambda _: not interrupt.is_set(), self._seen.in_order(batch))
            with blocks.opened(block, seen) as (training, inputs):
                file.load(training)
                batches = endless(partial(shuffled, inputs), self._seed, training.step)
                note = partial(self._note, steps, before=index, of=len(blocks.blocks))
                if inputs or interrupt.is_set():
                    take_steps(training, file, batches, note, interrupt)
                else:  # no batch runs it
                    training.end()
            if not training.is_done and interrupt.is_set():
                return False
        return True

    def _file(self, steps: _Steps, recipe: Recipe, block: str | None = None) -> SearchFile:
        path = steps.checkpoint if block is None or steps.checkpoint is None else f"{steps.checkpoint}-{block}"
        said = f"{steps.said}, {recipe}, {len(self._seen)} samples, seed {self._seed}"
        return SearchFile(path, said, steps.origin)

    def _note(self, steps: _Steps, state: Progress, before: int = 0, of: int = 1) -> None:
        """Record a step, and tell the user of it, counted over all blocks."""
        state = replace(state, step=before * state.steps + state.step, steps=of * state.steps)
        self.recording.step(state)
        if steps.progress is not None:
            steps.progress(state)


class _Steps(NamedTuple):
    """What the steps of one search share: file to go on from, what it must be of, who hears of steps, and a name."""

    checkpoint: str | None
    said: str
    origin: Origin | None
    progress: Callable[[Progress], None] | None
    name: str | None


def _float_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode, in float32 where numbers of half precision would be too coarse to train.

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
    if problems := list(model_problems(model)):
        raise SettingError("\n".join(problems))
    refuse_not_finite(model)
    try:
        target = copied(model).eval()
    except Exception as error:  # whatever the user's classes raise
        raise SettingError(
            f"model: received {type(model).__name__}, which cannot be copied ({error}); allowed is a network that "
            "copy.deepcopy takes"
        ) from error
    run_all_layers_(target)  # nothing can be compared with what the fused pass gives within, nested tensors
    return target.float() if any(p.dtype in HALF for p in target.parameters()) else target


def _observe(target: nn.Module, batch: Any, run: Callable[[nn.Module, Any], Any]) -> Dataflow:
    """One pass of the float network on a batch.

    Raises:
        DataError: If it does not run on the images, or gives nothing that can be compared.
        nncf_slb.search.finite.NotFiniteError: If its outputs are not finite.
    """
    outputs: list[Any] = []
    try:
        flow = observe(target, lambda: outputs.append(run(target, batch)))
    except Exception as error:  # whatever the user's network raises
        raise DataError(
            f"images: the network does not run on them ({type(error).__name__}: {str(error).partition(chr(10))[0]}). "
            "Give batches as it takes them; of batches that are tuples or lists the first entry is taken for its "
            "input, and in Python the argument 'inputs' says otherwise"
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


def _first(batches: Iterable[Any], samples: int) -> Iterator[Any]:
    """Batches with that many samples, rounded up to whole batches."""
    taken = 0
    for batch in batches:
        if taken >= samples:
            return
        yield batch
        taken += count(batch)


def _stripped(searched: nn.Module) -> nn.Module:
    """The low-bit network as it is now; the searched one stays."""
    stripped = copied(searched)
    strip_(stripped)
    return stripped.eval()
