"""`SLBBuilder`: puts the search into a network through NNCF's builder hooks."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from nncf import NNCFConfig
from nncf.common.scopes import matches_any
from nncf.common.utils.backend import copy_model
from nncf.torch.compression_method_api import PTCompressionAlgorithmBuilder
from nncf.torch.graph.transformations.layout import PTTransformationLayout
from nncf.torch.nncf_network import NNCFNetwork
from pydantic import BaseModel

from nncf_slb.bits.choice import ChosenBits
from nncf_slb.config.budget import AUTO
from nncf_slb.config.section import (
    ConfigError,
    ResolvedWeights,
    SLBConfig,
    find_slb_sections,
    parse_slb_config,
    scope_list,
    total_epochs,
    validate_nncf_config,
)
from nncf_slb.hosts.exporting import refused_before_training
from nncf_slb.hosts.nncf2.controller import SLBController
from nncf_slb.hosts.nncf2.dry_export import dry_export
from nncf_slb.hosts.nncf2.export import example_arguments
from nncf_slb.hosts.nncf2.insertion import Insertions, make_insertions
from nncf_slb.hosts.nncf2.loaders import REGISTER_LOADER, registered_batches
from nncf_slb.hosts.nncf2.mixed_precision import bits_of_state, choose_bits
from nncf_slb.hosts.nncf2.planning import (
    Scopes,
    SearchPlan,
    plan_search,
    refuse_foreign_operations,
    refuse_unmatched_scopes,
)
from nncf_slb.hosts.nncf2.reconstruction import reconstruct_network
from nncf_slb.hosts.reconstruction import runner_before
from nncf_slb.hosts.resuming import meanings, refuse_other_meanings
from nncf_slb.openvino.graph import LoweringError
from nncf_slb.openvino.low_bit_model import ExportError
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.activation_ranges import initialize_activations
from nncf_slb.search.batchnorm import batch_norms, calibrate
from nncf_slb.search.fast_path import run_all_layers_

logger = logging.getLogger("nncf_slb")


class SLBBuilder(PTCompressionAlgorithmBuilder):  # type: ignore[misc]
    """Puts a `SearchableWeight`, and where asked for an `ActivationQuantizer`, in front of every layer in scope."""

    def __init__(self, config: NNCFConfig, should_init: bool = True) -> None:
        validate_nncf_config(config)
        # The base class would extend the global ignored scopes in place, and the next algorithm would see ours.
        everywhere = config.pop("ignored_scopes", None)
        super().__init__(config, should_init)
        if everywhere is not None:
            config["ignored_scopes"] = everywhere
        section_scopes: str | list[str] | None = self.ignored_scopes
        self.ignored_scopes: list[str] | None = [*scope_list(everywhere), *scope_list(section_scopes)] or None
        self.slb_config: SLBConfig = parse_slb_config(self._algo_config)
        self._insertions = Insertions()
        self._plan = SearchPlan()
        self._chosen_bits = ChosenBits()
        self._float_network: NNCFNetwork | None = None
        self._state: dict[str, Any] = {}

    def get_transformation_layout(self, model: NNCFNetwork) -> PTTransformationLayout:
        """NNCF's own, after a check of the scopes that says what would match."""
        if self.slb_config.validate_scopes:
            refuse_unmatched_scopes(model, self.slb_config, find_slb_sections(self.config)[0][0], self.config)
        return super().get_transformation_layout(model)

    def _get_transformation_layout(self, target_model: NNCFNetwork) -> PTTransformationLayout:
        scopes = Scopes(self._should_consider_scope, self._is_target)
        plan = plan_search(target_model, scopes, self._weight_settings, self.slb_config.weights.edges)
        self._plan = plan
        _say_what_is_left_out(plan)
        _say_what_edges_get(plan)
        multiplier = self.config.get_redefinable_global_param_value_for_algo("compression_lr_multiplier", self.name)
        target_device = self.config.get("target_device")
        self._measure_batch_norm(target_model)
        if self.should_init and self.slb_config.initializer.reconstruction is not None:
            self._float_network = copy_model(target_model)
        if self.slb_config.weights.bits == AUTO:
            self._choose_bits(target_model, plan)
        bits = self._chosen_bits.bits
        self._insertions = make_insertions(target_model, plan, self.slb_config, target_device, multiplier, bits)
        refuse_other_meanings(self._state, self._insertions.searched, find_slb_sections(self.config)[0][0])
        if self.should_init and self.slb_config.openvino.dry_export:
            self._try_export(target_model)
        return self._insertions.layout()

    def _is_target(self, name: str) -> bool:
        return bool(self.target_scopes) and bool(matches_any(name, self.target_scopes))

    def _try_export(self, model: NNCFNetwork) -> None:
        """Export once before training, so that what cannot be exported costs seconds and no training.

        Raises:
            ExportError: With what the export says, and how to do without one.
        """
        start = time.perf_counter()
        try:
            dry_export(model, self._insertions, example_arguments(model), self._lowering_settings())
        except (ExportError, LoweringError) as error:
            raise refused_before_training(error, model) from error
        logger.info("slb: a dry export of the network took %.1f s", time.perf_counter() - start)

    def _lowering_settings(self) -> LoweringSettings:
        return LoweringSettings.of_config(self.config.get("target_device"), self.slb_config.openvino)

    def _weight_settings(self, name: str) -> ResolvedWeights:
        return self.slb_config.weights.resolve(partial(matches_any, name))

    def _measure_batch_norm(self, model: NNCFNetwork) -> None:
        """With random logits, statistics of the float network, which may be untrained.

        NNCF's ``quantization``, listed behind ``slb``, takes the ranges of activations from it; in a network whose
        batch norm has seen no data they would be far too small.
        """
        batches, initializer = registered_batches(self.config), self.slb_config.initializer
        settings = initializer.batchnorm_adaptation
        if self.should_init and initializer.logits == "random" and batches is not None and settings is not None:
            calibrate(model, batches.runner(model), batches.take_samples(settings.num_bn_adaptation_samples))

    def _choose_bits(self, model: NNCFNetwork, plan: SearchPlan) -> None:
        """Measure, unless the bits come from a compression state."""
        if self.should_init:
            batches, lowering = registered_batches(self.config), self._lowering_settings()
            self._chosen_bits = choose_bits(model, plan, self.slb_config, self.config, batches, lowering)
        else:
            self._chosen_bits = bits_of_state(self._chosen_bits, plan, self.slb_config, self.config)

    def _get_state_without_name(self) -> dict[str, Any]:
        return {**self._chosen_bits.to_state(), "meanings": meanings(self._insertions.searched)}

    def _load_state_without_name(self, state_without_name: dict[str, Any]) -> None:
        self._chosen_bits = ChosenBits.from_state(state_without_name)
        self._state = state_without_name

    def _handle_frozen_layers(self, target_model: NNCFNetwork) -> None:
        # Runs after the layout is made: from here on gradient descent does not use the float weights any more.
        super()._handle_frozen_layers(target_model)
        for name in self._insertions.weights if self.slb_config.params.descent == "gradient" else self._plan.edges:
            target_model.nncf.get_containing_module(name).weight.requires_grad_(False)

    def _are_frozen_layers_allowed(self) -> tuple[bool, str]:
        return True, "Frozen layers keep the discrete weights nearest to their trained ones"

    def initialize(self, model: NNCFNetwork) -> None:
        """First latents, first steps of quantized activations, then statistics of batch norm with discrete weights.

        All algorithms have read the float weights by now.
        """
        for searchable in self._insertions.search.weights:
            searchable.begin()
        self._initialize_activations(model)
        self._reconstruct(model)
        self._adapt_batch_norm(model)

    def _adapt_batch_norm(self, model: NNCFNetwork) -> None:
        initializer, batches = self.slb_config.initializer, registered_batches(self.config)
        settings = initializer.adaptation
        if settings is None or not batch_norms(model):
            return
        if batches is not None:
            calibrate(model, batches.runner(model), batches.take_samples(settings.num_bn_adaptation_samples))
        elif "batchnorm_adaptation" in initializer.model_fields_set:
            raise self._needs_loader("batchnorm_adaptation", settings)

    def _needs_loader(self, name: str, settings: BaseModel) -> ConfigError:
        path = f"{find_slb_sections(self.config)[0][0]}.initializer.{name}"
        received = settings.model_dump_json()
        return ConfigError([f"{path}: received {received} without a data loader; allowed with one. {REGISTER_LOADER}"])

    def _reconstruct(self, model: NNCFNetwork) -> None:
        """Search without labels, if the config asks for it."""
        settings, target = self.slb_config.initializer.reconstruction, self._float_network
        if settings is None or target is None:
            return
        batches = registered_batches(self.config)
        if batches is None:
            raise self._needs_loader("reconstruction", settings)
        reconstruct_network(model, target, self._plan, self._insertions, batches, settings)
        self._float_network = None

    def _initialize_activations(self, model: NNCFNetwork) -> None:
        batches = registered_batches(self.config)
        quantizers = dict.fromkeys(self._insertions.quantizers.values())
        if batches is None or not quantizers:
            return
        seen = batches.take_samples(self.slb_config.initializer.range.num_init_samples)
        run = runner_before(model, self._float_network, batches)
        initialize_activations(model, self._insertions.search, quantizers, run, seen)

    def _build_controller(self, model: NNCFNetwork) -> SLBController:
        refuse_foreign_operations(model, self._insertions.weights)
        run_all_layers_(model)
        for layer in model.modules():
            for operation in getattr(layer, "pre_ops", {}).values():
                operation.train(model.training)
        epochs, measured = total_epochs(self.config), self._chosen_bits.sensitivities
        return SLBController(model, self.config, self.slb_config, epochs, self._plan, self._insertions.search, measured)


def _say_what_edges_get(plan: SearchPlan) -> None:
    """One line of advice where first and last layers are searched, as a config that says nothing has it."""
    if plan.searched_edges:
        logger.warning(
            'slb: first and last layers are searched like all others: %s. They lose most; "edges": "float" or 8 in '
            "weights gives them more bits",
            ", ".join(plan.searched_edges),
        )


def _say_what_is_left_out(plan: SearchPlan) -> None:
    """One line on weights in scope that stay in full precision."""
    if plan.left_out:
        listed = "; ".join(f"{name} ({reason})" for name, reason in plan.left_out.items())
        logger.warning(
            "slb: %.1f %% of all weights stay in full precision though no scope says so: %s",
            100 * plan.left_out_share,
            listed,
        )
