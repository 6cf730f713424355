"""What a training loop asks of a search, in any host: its phase, how far it is, and the searched network itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from nncf_slb.bits.sensitivity import Sensitivities
from nncf_slb.search.descent import GradientDescent, MirrorDescent
from nncf_slb.search.discrete_batchnorm import DiscreteBatchNorm
from nncf_slb.search.phases import Phase, SearchClock
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState, WeightKind
from nncf_slb.search.statistics import layers_statistics

logger = logging.getLogger("nncf_slb")

_FLOAT_BITS, _EIGHT_BITS = 32, 8
UNCOMPRESSED, PARTIALLY_COMPRESSED, FULLY_COMPRESSED = range(3)


@dataclass(frozen=True)
class NotSearched:
    """Layers with weights that are not searched, by the host's names.

    Attributes:
        full_precision: Those that stay in full precision.
        eight_bits: First and last layers that are rounded to 8 bits.
        left_out: Those of the full precision layers that no scope leaves out, with the reason.
        left_out_share: Their share of all weights, 0 to 1.
        weights: Weights of the whole network, the searched ones among them.
        eight_bit_weights: Those that are rounded to 8 bits.
        sensitivities: What was measured where bits are ``auto``.
    """

    full_precision: tuple[str, ...] = ()
    eight_bits: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    left_out_share: float = 0.0
    weights: int = 0
    eight_bit_weights: int = 0
    sensitivities: Sensitivities = field(default_factory=dict)


class SearchHandle:
    """The search in one network.

    Args:
        model: The network.
        search: State that its searched weights share.
        weights: Searched weights by the host's name of the layer.
        others: What is not searched.
        batchnorm: Keeps its statistics those of the discrete network.
    """

    def __init__(
        self,
        model: nn.Module,
        search: SearchState,
        weights: Mapping[str, SearchableWeight],
        others: NotSearched,
        batchnorm: DiscreteBatchNorm,
    ) -> None:
        self._model, self._search, self._weights = model, search, dict(weights)
        self._others, self._batchnorm = others, batchnorm
        self._codes_before: dict[SearchableWeight, Tensor] = {}
        self._warned = False

    def remember_codes(self) -> None:
        """An epoch begins: statistics tell from here how many codes have changed."""
        if self._codes_before:
            self._warn_of_an_epoch_without_training()
        modules = dict.fromkeys(self._weights.values())
        self._codes_before = {searchable: searchable.codes() for searchable in modules}

    def _warn_of_an_epoch_without_training(self) -> None:
        """In evaluation mode the search stands still, though nothing fails: gradients reach the other parameters."""
        means = [d for d in (w.descent for w in self._weights.values()) if isinstance(d, MirrorDescent) and d.averaging]
        if means and not self._warned and all(descent.steps == 0 for descent in means):
            self._warned = True
            logger.warning(
                "slb: an epoch is over, but no searched weight has been trained. Call model.train() before each epoch: "
                "in evaluation mode the network runs its discrete weights, which get no gradients"
            )

    def set_phase(self, phase: Phase) -> None:
        """Temperature, and whether training uses the chosen weights; with gradient descent these are final then."""
        if phase.discrete and not self._search.phase.discrete:
            for weight in self._search.weights:
                if isinstance(weight.descent, GradientDescent):
                    weight.descent.finish()
        self._search.phase = phase

    @staticmethod
    def stage(clock: SearchClock) -> int:
        """Uncompressed before the temperature falls, partially compressed while it does, then fully compressed."""
        if clock.phase.discrete:
            return FULLY_COMPRESSED
        return PARTIALLY_COMPRESSED if clock.temperature_falls else UNCOMPRESSED

    def statistics(self) -> dict[str, Any]:
        """Arguments of `nncf_slb.search.statistics.SearchStatistics`; layers that share a weight appear once."""
        first_names: dict[SearchableWeight, str] = {}
        for name, module in self._weights.items():
            first_names.setdefault(module, name)
        return {
            "inverse_temperature": self._search.phase.inverse_temperature,
            "layers": layers_statistics({name: module for module, name in first_names.items()}, self._codes_before),
            "full_precision_layers": self._others.full_precision,
            "eight_bit_layers": self._others.eight_bits,
            "sensitivities": self._others.sensitivities,
            "left_out": self._others.left_out,
            "left_out_share": self._others.left_out_share,
        }

    def compression_rate(self) -> float:
        """Share of the bits of all weights that the discrete network saves beside 32-bit floats, 0 to 1."""
        others, searched = self._others, dict.fromkeys(self._weights.values())
        counts = {weight: weight.weight_shape.numel() for weight in searched}
        low_bit = sum(count * weight.values.bits for weight, count in counts.items())
        rest = others.weights - sum(counts.values()) - others.eight_bit_weights
        bits = low_bit + _EIGHT_BITS * others.eight_bit_weights + _FLOAT_BITS * rest
        return 1 - bits / (_FLOAT_BITS * others.weights)

    @contextmanager
    def searched_network(self) -> Iterator[nn.Module]:
        """Within it, eval mode runs the expected (continuous) weights with batch norm statistics of their own."""
        with self._batchnorm.searched_statistics(), self._search.using(WeightKind.EXPECTED):
            self._batchnorm.calibrate_searched()
            yield self._model
