"""`SLBController`: the handle that NNCF's training loops hold."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from nncf import NNCFConfig
from nncf.api.compression import CompressionStage
from nncf.common.statistics import NNCFStatistics
from nncf.common.utils.backend import copy_model
from nncf.parameters import StripFormat
from nncf.torch.algo_selector import ZeroCompressionLoss
from nncf.torch.compression_method_api import PTCompressionAlgorithmController, PTCompressionLoss
from nncf.torch.nncf_network import NNCFNetwork
from torch import nn

from nncf_slb.bits.sensitivity import Sensitivities
from nncf_slb.config.section import SLBConfig
from nncf_slb.errors import SettingError
from nncf_slb.hosts.exporting import export_controller
from nncf_slb.hosts.handle import NotSearched, SearchHandle
from nncf_slb.hosts.new_start import NewStart
from nncf_slb.hosts.nncf2.copies import allow_copies
from nncf_slb.hosts.nncf2.export import example_arguments
from nncf_slb.hosts.nncf2.loaders import REGISTER_LOADER, length_of, registered_batches
from nncf_slb.hosts.nncf2.network import searchable_operands, to_plain_torch
from nncf_slb.hosts.nncf2.planning import SearchPlan
from nncf_slb.hosts.nncf2.scheduler import SLBScheduler
from nncf_slb.hosts.nncf2.statistics import SLBStatistics
from nncf_slb.hosts.nncf2.untraced import run_untraced
from nncf_slb.hosts.wrappers import take_off_wrappers
from nncf_slb.openvino.stripped_network import ExportDefaults, set_export_defaults
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.discrete_batchnorm import DiscreteBatchNorm
from nncf_slb.search.finite import refuse_not_finite
from nncf_slb.search.parameters import weight_count
from nncf_slb.search.phases import SearchClock
from nncf_slb.search.runtime import FixedWeight
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState
from nncf_slb.search.strip import chosen_codes, fixed_activation


class SLBController(PTCompressionAlgorithmController):  # type: ignore[misc]
    """Handle for training: scheduler, loss, statistics, stage, state, strip and export.

    Args:
        model: NNCF network with `SearchableWeight`s inserted.
        nncf_config: Whole config, for the registered data loader.
        slb_config: This algorithm's section.
        epochs: Number of epochs that fractions of the schedule refer to if the section states none.
        plan: What is searched and what is not.
        search: State that the searched weights share.
        sensitivities: What was measured where bits are ``auto``, by node name and bits.

    Attributes:
        searchable_weights: Searched weights by node name.
    """

    def __init__(
        self,
        model: NNCFNetwork,
        nncf_config: NNCFConfig,
        slb_config: SLBConfig,
        epochs: int,
        plan: SearchPlan,
        search: SearchState,
        sensitivities: Sensitivities,
    ) -> None:
        super().__init__(model)
        self.searchable_weights = searchable_operands(model)
        search.watch(model)
        run_untraced(model)
        allow_copies(model)
        paths = {id(module): path for path, module in model.named_modules()}
        layers = {name: model.nncf.get_containing_module(name) for name in self.searchable_weights}
        NewStart(model, {f"{paths[id(layer)]}.weight": self.searchable_weights[n] for n, layer in layers.items()}, {})
        self._search = search
        self._loss = ZeroCompressionLoss(next(model.parameters()).device)
        params, batches = slb_config.params, registered_batches(nncf_config)
        self.batchnorm = DiscreteBatchNorm(
            model,
            search,
            two_states=params.batchnorm == "state",
            batches=params.batchnorm_calibration_batches,
            data=batches,
            no_data_advice=f"{REGISTER_LOADER}, or set compression.params.batchnorm to 'state'.",
            host_is_tracing=_is_traced,
        )
        others = NotSearched(
            tuple(plan.full_precision), tuple(plan.edges), plan.left_out, plan.left_out_share, plan.weights,
            weight_count(p for layer in plan.edges.values() for p in layer.parameters(recurse=False)), sensitivities,
        )  # fmt: skip
        self._handle = SearchHandle(model, search, self.searchable_weights, others, self.batchnorm)
        per_step = params.update_per_optimizer_step
        clock = SearchClock(
            params.curve(epochs), per_step, params.steps_per_epoch, length_of(nncf_config), params.epochs or epochs
        )
        self._scheduler = SLBScheduler(clock, self._handle.set_phase, self._handle.remember_codes)
        lowering = LoweringSettings.of_config(nncf_config.get("target_device"), slb_config.openvino)
        set_export_defaults(model, ExportDefaults(lowering, example_arguments, slb_config.onnx))

    @property
    def loss(self) -> PTCompressionLoss:
        """Zero: the paper's loss is the task's alone."""
        return self._loss

    @property
    def scheduler(self) -> SLBScheduler:
        """Scheduler of the temperature."""
        return self._scheduler

    def compression_stage(self) -> CompressionStage:
        """Uncompressed before the temperature falls, partially compressed while it does, then fully compressed."""
        return CompressionStage(self._handle.stage(self._scheduler.clock))

    @property
    def compression_rate(self) -> float:
        """Share of the bits of all weights that the discrete network saves beside 32-bit floats, 0 to 1."""
        return self._handle.compression_rate()

    @compression_rate.setter
    def compression_rate(self, rate: float) -> None:
        """Refuse it.

        Raises:
            SettingError: Always: bits are chosen when the network is created.
        """
        raise SettingError(
            f"compression_rate: received {rate}; allowed is to read it, since the bits of weights are chosen when the "
            'network is created. Set weights.bits, or let bits "auto" keep a budget'
        )

    def disable_scheduler(self) -> None:
        """End the search here: the network is discrete and fully compressed from now on, whatever epochs follow."""
        self._scheduler.end()

    def statistics(self, quickly_collected_only: bool = False) -> NNCFStatistics:
        """NNCF statistics with an ``slb`` entry of type `SLBStatistics`; empty if only quick ones are asked for."""
        result = NNCFStatistics()
        if not quickly_collected_only:
            result.register("slb", SLBStatistics(**self._handle.statistics()))
        return result

    def searched_network(self) -> AbstractContextManager[nn.Module]:
        """Within it, eval mode runs the expected (continuous) weights with batch norm statistics of their own."""
        return self._handle.searched_network()

    def strip_model(
        self, model: NNCFNetwork, do_copy: bool = False, strip_format: StripFormat = StripFormat.NATIVE
    ) -> NNCFNetwork:
        """Replace the distributions of an NNCF network by codes and scales, leaving other algorithms' parts alone.

        Raises:
            nncf_slb.search.finite.NotFiniteError: If the network holds a NaN or an infinity.
        """
        refuse_not_finite(self.model)
        with self.batchnorm.discrete_statistics():
            if do_copy or model is self.model:
                model = self._copy(model)
            else:  # a composite's copy, made before the statistics were those of the discrete network
                self.batchnorm.give_statistics(model)
        DiscreteBatchNorm.detach(model)
        SearchState.unwatch(model)
        fixed: dict[nn.Module, nn.Module] = {}
        for operation in _own_operations(model):
            if operation.op not in fixed:
                searched = isinstance(operation.op, SearchableWeight)
                fixed[operation.op] = (
                    FixedWeight(chosen_codes(operation.op)) if searched else fixed_activation(operation.op)
                )
            operation.op = fixed[operation.op]
        return model

    def _copy(self, model: NNCFNetwork) -> NNCFNetwork:
        with self._search.sharing_copies():
            duplicate = copy_model(model)
        take_off_wrappers(duplicate)
        return duplicate

    def strip(self, do_copy: bool = True, strip_format: StripFormat = StripFormat.NATIVE) -> nn.Module:
        """Plain torch model that holds integer codes and scales and needs no NNCF.

        Args:
            do_copy: Part of NNCF's interface; the controller's model always stays as it is.
            strip_format: Only NNCF's native format is meant; the argument is part of NNCF's interface.

        Raises:
            nncf_slb.search.finite.NotFiniteError: If the network holds a NaN or an infinity.
        """
        refuse_not_finite(self.model)
        with self.batchnorm.discrete_statistics():
            model = self._copy(self.model)
        DiscreteBatchNorm.detach(model)
        SearchState.unwatch(model)
        return to_plain_torch(model)

    def export_model(
        self,
        save_path: str,
        save_format: str | None = None,
        input_names: list[str] | None = None,
        output_names: list[str] | None = None,
        model_args: tuple[Any, ...] | None = None,
    ) -> None:
        """Write OpenVINO IR (``.xml``) or ONNX (``.onnx``); see `nncf_slb.export_openvino`."""
        export_controller(self, save_path, save_format, input_names, output_names, model_args)


def _is_traced(network: Any) -> bool:
    return bool(network.nncf.get_tracing_context().trace_dynamic_graph)


def _own_operations(model: NNCFNetwork) -> list[Any]:
    return [m for m in model.modules() if isinstance(getattr(m, "op", None), SearchableWeight | ActivationQuantizer)]
