"""Puts a search into a network of plain torch, for a training loop."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from nncf_slb.bits.choice import ChosenBits
from nncf_slb.config.errors import ConfigError
from nncf_slb.config.section import SLBConfig
from nncf_slb.errors import SettingError, printable
from nncf_slb.hosts.compression import Compression
from nncf_slb.hosts.controller import Search, SearchController
from nncf_slb.hosts.copying import copied
from nncf_slb.hosts.dataflow import Dataflow, observe, without_observation
from nncf_slb.hosts.distillation import Teacher
from nncf_slb.hosts.handle import NotSearched
from nncf_slb.hosts.inputs import Data
from nncf_slb.hosts.model_checks import FUNCTION_HOOKS, ModelError, model_problems
from nncf_slb.hosts.new_start import NewStart
from nncf_slb.hosts.reconstruction import reconstruct, runner_before
from nncf_slb.hosts.resuming import chosen_bits, refuse_other_meanings, state_of_slb
from nncf_slb.hosts.torch.bits import Bits, BitsByMeasurement
from nncf_slb.hosts.torch.dry_export import dry_export
from nncf_slb.hosts.torch.insertion import strip_
from nncf_slb.hosts.torch.planning import Plan, plan_search
from nncf_slb.hosts.torch.search import Inserted, insert_search
from nncf_slb.openvino.stripped_network import ExportDefaults, set_export_defaults
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.activation_ranges import initialize_activations
from nncf_slb.search.batchnorm import batch_norms, calibrate, preserved_modes
from nncf_slb.search.discrete_batchnorm import DiscreteBatchNorm
from nncf_slb.search.finite import refuse_not_finite
from nncf_slb.search.parameters import weight_count
from nncf_slb.search.phases import SearchClock

logger = logging.getLogger("nncf_slb")


@dataclass(frozen=True)
class Way:
    """How a host gets a search into a network.

    Attributes:
        host: Its name.
        prepare: Gives the network to put the search into, with the paths of the one that was observed.
        insert: Puts the modules of a plan into a network, as `insert_search` does.
        strip: Turns a copy of the network into a low-bit one.
        holder: Module that holds what belongs to the whole network; None for the network itself.
        take_new_starts: Lets the search begin anew where float weights are loaded later.
    """

    host: str
    prepare: Callable[[nn.Module], nn.Module]
    insert: Callable[[nn.Module, Plan, SLBConfig, Bits], Inserted]
    strip: Callable[[nn.Module], nn.Module]
    holder: Callable[[Inserted], nn.Module | None]
    take_new_starts: Callable[[nn.Module, Inserted], object]


def _stripped(model: nn.Module) -> nn.Module:
    strip_(model)
    return model


def _take_new_starts(model: nn.Module, inserted: Inserted) -> NewStart:
    weights = {inserted.float_names[path]: weight for path, weight in inserted.searched.items()}
    return NewStart(model, weights, {name: _name_of_original(name) for name in weights})


def _name_of_original(name: str) -> str:
    owner, dot, last = name.rpartition(".")
    return f"{owner}{dot}parametrizations.{last}.original"


BY_PARAMETRIZATION = Way("torch", lambda model: model, insert_search, _stripped, lambda _: None, _take_new_starts)


def create(
    model: nn.Module,
    compression: Compression,
    data: Data,
    state: Mapping[str, Any] | None,
    way: Way = BY_PARAMETRIZATION,
) -> tuple[SearchController, nn.Module]:
    """Put a search into a network, in place.

    Args:
        model: Float network.
        compression: Settings.
        data: Data and an example.
        state: Compression state to go on from; None to begin.
        way: How the search gets into the network.

    Raises:
        ModelError: If the network cannot be searched.
        nncf_slb.config.errors.ConfigError: If settings do not fit the network.
        nncf_slb.hosts.torch.planning.NothingToSearchError: If no layer is left to search.
        nncf_slb.openvino.low_bit_model.ExportError: If the network cannot be exported.
        nncf_slb.search.finite.NotFiniteError: If the network holds a NaN or an infinity.
    """
    problems = list(model_problems(model))
    if way is BY_PARAMETRIZATION and hasattr(model, FUNCTION_HOOKS):
        problems.append(
            "model: received a network with function hooks of NNCF, which a parametrization would part from their "
            "parameters; allowed with the host torch is one without. Use the host nncf3"
        )
    if problems:
        raise ModelError("\n".join(problems))
    with preserved_modes(model):  # makes no random number and leaves no mode
        controller = _Creation(model, compression, data, way).run(state)
    return controller, controller.model


class _Creation:
    """One network on its way."""

    def __init__(self, model: nn.Module, compression: Compression, data: Data, way: Way) -> None:
        self._model, self._compression, self._data, self._way = model, compression, data, way
        self._slb: SLBConfig = compression.slb
        self._lowering = LoweringSettings.of_config(compression.target_device, self._slb.openvino)
        refuse_not_finite(model)
        self._weights = weight_count(model.parameters())
        self._flow = self._observed()
        self._plan = plan_search(model, self._flow, self._slb)
        _say_what_is_left_out(self._plan, model)
        self._say_what_edges_get()

    def run(self, state: Mapping[str, Any] | None) -> SearchController:
        """All steps."""
        model, slb = self._model, self._slb
        if state is None:
            self._refuse_without_loader()
        bits = self._bits(state)
        if slb.openvino.dry_export and self._data.example is not None:
            dry_export(model, self._plan, slb, bits.bits, self._data.example, self._lowering)
        target = copied(model) if self._needs_target(state) else None
        teacher = None
        if self._compression.distillation is not None:
            teacher = Teacher(copied(model), self._compression.distillation)
        model = self._model = self._way.prepare(model)
        known = set(model.modules())
        inserted = self._way.insert(model, self._plan, slb, bits.bits)
        for module in model.modules():
            if module not in known:
                module.training = model.training
        self._multiply_gradients(inserted)
        if teacher is not None:
            teacher.teach(model)
        if state is None:
            self._begin(inserted, target)
        controller = self._controller(inserted, bits, teacher)
        self._way.take_new_starts(model, inserted)
        if state is not None:
            refuse_other_meanings(state_of_slb(state), controller.searchable_weights, self._compression.path)
            controller.load_state(state)
        return controller

    def _observed(self) -> Dataflow:
        if next(self._model.parameters(), None) is None:
            return without_observation(self._model)  # there is no layer to search, which planning says
        if self._data.example is None:
            reason = "there is no example to run it with (example_input, input_info or a loader)"
        else:
            try:
                return observe(self._model, partial(self._data.run_example, self._model))
            except Exception as error:  # whatever the user's network raises
                reason = f"it does not run on the example ({type(error).__name__}: {error})"
                if self._data.source != "loader":
                    raise SettingError(
                        f"{self._data.source}: the network does not run on it ({type(error).__name__}: "
                        f"{printable(error)}); give what the network takes"
                    ) from error
                self._data = dataclasses.replace(self._data, example=None)
        if self._slb.weights.edges != "search":
            raise ConfigError([
                f"{self._compression.path}.weights.edges: received {self._slb.weights.edges!r} for a network whose "
                f'first and last layers are not known: {reason}; allowed: "search". Give an example input, or leave '
                "first and last layers out with ignored_scopes"
            ])  # fmt: skip
        logger.warning(
            "slb: the network was not seen running: %s. So each layer quantizes its own input, which functions use "
            "weights is not known, and no export is tried", reason,
        )  # fmt: skip
        return without_observation(self._model)

    def _say_what_edges_get(self) -> None:
        first_and_last = [path for path, layer in self._plan.searched.items() if layer.is_first or layer.is_last]
        if self._slb.weights.edges == "search" and first_and_last:
            logger.warning(
                'slb: first and last layers are searched like all others: %s. They lose most; "edges": "float" or 8 in '
                "weights gives them more bits", ", ".join(first_and_last),
            )  # fmt: skip

    def _bits(self, state: Mapping[str, Any] | None) -> ChosenBits:
        measurement = BitsByMeasurement(self._model, self._plan, self._slb)
        path = f"{self._compression.path}.weights"
        if state is not None:
            return chosen_bits(state, self._plan.searched, measurement.names, path)
        budget = self._slb.weights.budget
        if not measurement.widths or budget is None:
            return ChosenBits()
        if self._data.batches is None or self._data.example is None:
            raise ConfigError([
                f'{path}.bits: received "auto" without a data loader; allowed: "auto" with one, to measure the layers '
                "with. Give create_compressed_model a loader"
            ])  # fmt: skip
        seen = self._data.batches.take_samples(budget.samples)
        measurement.measure(self._data.batches.runner(self._model), seen)
        chosen = measurement.within(budget, self._data.example, self._lowering)
        logger.info("slb: bits chosen within %s: %s", budget.model_dump(exclude_none=True), chosen)
        return ChosenBits(chosen, measurement.measured)

    def _needs_target(self, state: Mapping[str, Any] | None) -> bool:
        return self._slb.initializer.reconstruction is not None and state is None

    def _refuse_without_loader(self) -> None:
        """What the config asks for and needs a loader that is not there."""
        initializer = self._slb.initializer
        stated = "batchnorm_adaptation" in initializer.model_fields_set and batch_norms(self._model)
        asked = {"reconstruction": initializer.reconstruction,
                 "batchnorm_adaptation": initializer.adaptation if stated else None}  # fmt: skip
        problems = [
            f"{self._compression.path}.initializer.{name}: received {settings.model_dump_json()} without a data "
            "loader; allowed with one. Give create_compressed_model a loader"
            for name, settings in asked.items() if settings is not None
        ]  # fmt: skip
        if problems and self._data.batches is None:
            raise ConfigError(problems)

    def _multiply_gradients(self, inserted: Inserted) -> None:
        factor = self._compression.lr_multiplier
        if factor is None:
            return
        for weight in inserted.search.weights:
            for parameter in (weight.searched, weight.scale):
                if isinstance(parameter, nn.Parameter) and parameter.requires_grad:
                    parameter.register_hook(partial(torch.mul, factor))  # type: ignore[no-untyped-call]

    def _begin(self, inserted: Inserted, target: nn.Module | None) -> None:
        """First steps of quantized inputs, the search without labels, batch norm of the discrete network."""
        model, batches, initializer = self._model, self._data.batches, self._slb.initializer
        if batches is None:
            return
        if quantizers := dict.fromkeys(inserted.quantizers.values()):
            seen = batches.take_samples(initializer.range.num_init_samples)
            initialize_activations(model, inserted.search, quantizers, runner_before(model, target, batches), seen)
        if target is not None and initializer.reconstruction is not None:
            observed = [layer.observed for layer in self._plan.searched.values() if layer.observed]
            reconstruct(model, target, observed, inserted.fixed, inserted.search, batches, initializer.reconstruction)
        adaptation = initializer.adaptation
        if adaptation is not None and batch_norms(model):
            calibrate(model, batches.runner(model), batches.take_samples(adaptation.num_bn_adaptation_samples))

    def _controller(self, inserted: Inserted, bits: ChosenBits, teacher: Teacher | None) -> SearchController:
        model, plan, params = self._model, self._plan, self._slb.params
        others = NotSearched(
            tuple(plan.full_precision), tuple(plan.edges), plan.left_out, plan.left_out_share(model), self._weights,
            weight_count(layer.weight for layer in plan.edges.values()), bits.sensitivities,
        )  # fmt: skip
        batchnorm = DiscreteBatchNorm(
            model,
            inserted.search,
            two_states=params.batchnorm == "state",
            batches=params.batchnorm_calibration_batches,
            data=self._data.batches,
            no_data_advice="Give create_compressed_model a loader, or set compression.params.batchnorm to 'state'.",
            host_is_tracing=lambda _: False,
            holder=self._way.holder(inserted),
        )
        epochs = params.epochs or self._compression.epochs
        clock = SearchClock(
            params.curve(epochs), params.update_per_optimizer_step, params.steps_per_epoch, self._data.length, epochs
        )
        if (example := self._data.example) is not None:
            set_export_defaults(model, ExportDefaults(self._lowering, lambda _: example, self._slb.onnx))
        search = Search(
            self._way.host, model, inserted.search, inserted.searched, others, bits, self._way.strip, teacher
        )
        return SearchController(search, batchnorm, clock)


def _say_what_is_left_out(plan: Plan, model: nn.Module) -> None:
    """One line on weights in scope that stay in full precision."""
    if plan.left_out:
        logger.warning(
            "slb: %.1f %% of all weights stay in full precision though no scope says so: %s",
            100 * plan.left_out_share(model), "; ".join(f"{path} ({why})" for path, why in plan.left_out.items()),
        )  # fmt: skip
