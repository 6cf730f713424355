"""The handle that training loops hold in hosts without NNCF's builders, with the methods of NNCF's controllers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.bits.choice import ChosenBits
from nncf_slb.hosts.copying import copied
from nncf_slb.hosts.distillation import Teacher
from nncf_slb.hosts.exporting import export_controller
from nncf_slb.hosts.handle import FULLY_COMPRESSED, PARTIALLY_COMPRESSED, UNCOMPRESSED, NotSearched, SearchHandle
from nncf_slb.hosts.resuming import meanings
from nncf_slb.hosts.scheduler import SearchScheduler
from nncf_slb.hosts.wrappers import take_off_wrappers
from nncf_slb.search.discrete_batchnorm import DiscreteBatchNorm
from nncf_slb.search.finite import refuse_not_finite
from nncf_slb.search.phases import SearchClock
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState
from nncf_slb.search.statistics import SearchStatistics

_NAME = "slb"


class CompressionStage(IntEnum):
    """How far a search is; names and numbers are NNCF's."""

    UNCOMPRESSED = UNCOMPRESSED
    PARTIALLY_COMPRESSED = PARTIALLY_COMPRESSED
    FULLY_COMPRESSED = FULLY_COMPRESSED


@dataclass(frozen=True)
class Statistics:
    """What ``statistics()`` gives.

    Attributes:
        slb: Statistics of the search; None if only quick ones were asked for.
    """

    slb: SearchStatistics | None = None

    def to_str(self) -> str:
        """Table for the terminal."""
        return "" if self.slb is None else self.slb.to_str()


class Loss:
    """The part of the loss that compression adds: the teacher's, or zero, since the paper's loss is the task's alone.

    Args:
        device: Of the network.
        teacher: Distils; None for nobody.
    """

    def __init__(self, device: torch.device, teacher: Teacher | None) -> None:
        self._device, self._teacher = device, teacher

    def __call__(self) -> Tensor:
        """Scalar to add to the loss of the task, with the graph of the last training pass."""
        taught = None if self._teacher is None else self._teacher.take_loss()
        return torch.zeros((), device=self._device) if taught is None else taught


@dataclass(frozen=True)
class Search:
    """What a host has put into a network.

    Attributes:
        host: Name of the host.
        model: The network.
        state: State of the search.
        weights: Searched weights by the host's name of the layer.
        others: What is not searched.
        bits: Bits chosen by measurement.
        strip: Turns a copy of the network into a low-bit one, in place or not.
        teacher: Distils; None for nobody.
    """

    host: str
    model: nn.Module
    state: SearchState
    weights: Mapping[str, SearchableWeight]
    others: NotSearched
    bits: ChosenBits
    strip: Callable[[nn.Module], nn.Module]
    teacher: Teacher | None


class SearchController:
    """Scheduler, loss, statistics, stage, state, strip and export of one searched network.

    Args:
        search: What the host has put in.
        batchnorm: Keeps its statistics those of the discrete network.
        clock: Counts epochs and steps.

    Attributes:
        name: Name of the algorithm.
        host: Name of the host.
        model: The searched network.
        searchable_weights: Searched weights by name of the layer.
    """

    name = _NAME

    def __init__(self, search: Search, batchnorm: DiscreteBatchNorm, clock: SearchClock) -> None:
        self.host, self.model, self.batchnorm = search.host, search.model, batchnorm
        self.searchable_weights = dict(search.weights)
        self._bits, self._strip, self._state = search.bits, search.strip, search.state
        self._handle = SearchHandle(search.model, search.state, search.weights, search.others, batchnorm)
        self._scheduler = SearchScheduler(clock, self._handle.set_phase, self._handle.remember_codes)
        self._loss = Loss(next(search.model.parameters()).device, search.teacher)

    @property
    def scheduler(self) -> SearchScheduler:
        """Scheduler of the temperature: call ``epoch_step()`` before each epoch, ``step()`` before each step."""
        return self._scheduler

    @property
    def loss(self) -> Loss:
        """What compression adds to the loss."""
        return self._loss

    def compression_stage(self) -> CompressionStage:
        """Uncompressed before the temperature falls, partially compressed while it does, then fully compressed."""
        return CompressionStage(self._handle.stage(self._scheduler.clock))

    @property
    def compression_rate(self) -> float:
        """Share of the bits of all weights that the discrete network saves beside 32-bit floats, 0 to 1."""
        return self._handle.compression_rate()

    def disable_scheduler(self) -> None:
        """End the search here: the network is discrete and fully compressed from now on, whatever epochs follow."""
        self._scheduler.end()

    def statistics(self, quickly_collected_only: bool = False) -> Statistics:
        """Statistics of the search as ``.slb``; none if only quick ones are asked for."""
        return Statistics() if quickly_collected_only else Statistics(SearchStatistics(**self._handle.statistics()))

    def get_compression_state(self) -> dict[str, Any]:
        """Plain Python values for a checkpoint, in NNCF's form; `create_compressed_model` takes them back."""
        stage = int(self.compression_stage())
        ctrl_state = {"scheduler_state": self._scheduler.get_state(), "compression_stage": stage}
        chosen = {**self._bits.to_state(), "meanings": meanings(self.searchable_weights)}
        return {"builder_state": {_NAME: chosen}, "ctrl_state": {_NAME: ctrl_state}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_compression_state`."""
        self._scheduler.load_state(dict(state["ctrl_state"][_NAME]["scheduler_state"]))

    def distributed(self) -> None:
        """Part of NNCF's interface for several processes; nothing is to be prepared."""

    def searched_network(self) -> AbstractContextManager[nn.Module]:
        """Within it, eval mode runs the expected (continuous) weights with batch norm statistics of their own."""
        return self._handle.searched_network()

    def strip(self, do_copy: bool = True) -> nn.Module:
        """Plain torch model that holds integer codes and scales.

        Args:
            do_copy: Part of NNCF's interface; the controller's model always stays as it is.

        Raises:
            nncf_slb.search.finite.NotFiniteError: If the network holds a NaN or an infinity.
            nncf_slb.search.strip.StripError: If a quantizer of inputs has seen no data.
        """
        refuse_not_finite(self.model)
        with self.batchnorm.discrete_statistics(), self._state.sharing_copies():
            model = copied(self.model)
        take_off_wrappers(model)
        DiscreteBatchNorm.detach(model)
        Teacher.leave(model)
        return self._strip(model)

    def export_model(
        self,
        save_path: str,
        save_format: str | None = None,
        input_names: list[str] | None = None,
        output_names: list[str] | None = None,
        model_args: tuple[Any, ...] | None = None,
    ) -> None:
        """Write OpenVINO IR (``.xml``) or ONNX (``.onnx``); see `nncf_slb.export_openvino`.

        Raises:
            ExportError: On a `save_format` that does not fit the suffix, and as `export_openvino` does.
        """
        export_controller(self, save_path, save_format, input_names, output_names, model_args)
