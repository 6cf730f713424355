"""Bits of the layers whose settings say ``auto``: sensitivities measured once, and choices within budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from torch import nn

from nncf_slb.bits.allocation import BudgetTooSmallError
from nncf_slb.bits.choice import Choice, OpenLayer, bits_by_name, within_bytes, within_mean_bits
from nncf_slb.bits.sensitivity import Sensitivities, measure
from nncf_slb.config.budget import AUTO, BudgetConfig
from nncf_slb.config.section import SLBConfig
from nncf_slb.errors import SettingError
from nncf_slb.hosts.torch.planning import Plan, matches
from nncf_slb.hosts.torch.search import trial_network
from nncf_slb.openvino.call_form import Arguments
from nncf_slb.openvino.low_bit_model import convert, form_of_call
from nncf_slb.openvino.size import FileSizes
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.channels import SEARCHABLE_LAYERS
from nncf_slb.search.values import make_values

Bits = dict[str, int]


class BitsByMeasurement:
    """Chooses bits of the open layers of a plan.

    Args:
        target: Float network in eval mode; stays as it is.
        plan: Layers to search.
        settings: Settings.
    """

    def __init__(self, target: nn.Module, plan: Plan, settings: SLBConfig) -> None:
        self._target, self._plan, self._settings = target, plan, settings
        self._layers = list(_open_layers(plan, settings))
        self._measured: Sensitivities = {}

    @property
    def widths(self) -> list[int]:
        """Bits that some layer may get, ascending; empty where the settings state all bits."""
        return sorted({values.bits for layer in self._layers for values in layer.candidates})

    @property
    def names(self) -> list[str]:
        """Layers whose bits are chosen."""
        return [name for layer in self._layers for name in layer.names]

    @property
    def measured(self) -> Sensitivities:
        """What `measure` has found."""
        return self._measured

    def measure(self, run: Callable[[Any], Any], batches: Iterable[Any]) -> None:
        """Measure the sensitivities; arguments and errors as for `nncf_slb.bits.sensitivity.measure`."""
        modules = {layer.names[0]: layer.module for layer in self._layers}
        candidates = {layer.names[0]: layer.candidates for layer in self._layers}
        self._measured = measure(self._target, modules, candidates, run, batches)

    def near(self, width: int) -> Bits:
        """Bits of each layer that are nearest to `width`."""
        return bits_by_name(self._layers, [layer.candidate_near(width) for layer in self._layers])

    def within_mean(self, mean_bits: float) -> Bits:
        """Bits within a mean over all open weights."""
        return self._chosen(within_mean_bits(self._layers, mean_bits))

    def within(self, budget: BudgetConfig, example: Arguments, lowering: LoweringSettings) -> Bits:
        """Bits within a budget of the config.

        Args:
            budget: Mean bits, or bytes of the file.
            example: Arguments to convert the network with.
            lowering: How it will be exported.

        Raises:
            SettingError: If even the smallest candidates exceed it.
        """
        try:
            if budget.bytes is None:
                return self.within_mean(float(budget.mean_bits or 0))
            return self._chosen(within_bytes(self._layers, budget.bytes, self._sizes(example, lowering).size))
        except BudgetTooSmallError as error:
            name, stated = ("mean_bits", budget.mean_bits) if budget.bytes is None else ("bytes", budget.bytes)
            raise SettingError(
                f"budget.{name}: received {stated}; allowed is at least {error.smallest}, which the smallest "
                "candidates of all layers need. Raise it, or leave other layers in fewer bits"
            ) from error

    def _chosen(self, choice: Choice) -> Bits:
        return bits_by_name(self._layers, choice(self._measured))

    def _sizes(self, example: Arguments, lowering: LoweringSettings) -> FileSizes:
        """Sizes of the files for any choice, exact but for inputs whose sign is not known yet (up to 8 bytes each)."""
        models = {}
        for width in self.widths:
            trial = trial_network(self._target, self._plan, self._settings, self.near(width))
            form, tensors = form_of_call(trial, *example)
            models[width] = convert(trial, tensors, form, settings=lowering)
        return FileSizes(models, {name: self._path_of_codes(name) for name in self.names})

    def _path_of_codes(self, path: str) -> str:
        plain = type(self._target.get_submodule(path)) in SEARCHABLE_LAYERS
        return path if plain else f"{path}.coded_weight"


def _open_layers(plan: Plan, settings: SLBConfig) -> Iterable[OpenLayer]:
    users: dict[int, list[str]] = {}
    for path, layer in plan.searched.items():
        users.setdefault(id(layer.weight), []).append(path)
    for paths in users.values():
        resolved = settings.weights.resolve(partial(matches, paths[0]))
        if resolved.bits == AUTO:
            values = tuple(make_values(resolved.values, width) for width in resolved.candidates)
            yield OpenLayer(paths, plan.searched[paths[0]].module, values)
