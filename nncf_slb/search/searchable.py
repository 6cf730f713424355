"""`SearchableWeight`: the module that stands in for a weight while its values are searched."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.search import distribution as functional
from nncf_slb.search.phases import Phase
from nncf_slb.search.values import ValueSet

SEARCHABLE_LAYERS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear
)  # fmt: skip


_OPEN = 255  # stands for no code


class WeightKind(Enum):
    """Which weight a forward pass uses."""

    AUTOMATIC = "automatic"
    EXPECTED = "expected"
    CHOSEN = "chosen"


def transposed_groups(layer: nn.Module) -> int | None:
    """Groups of a transposed convolution (whose weight is ``[in, out / groups, ...]``), None for any other layer."""
    return int(layer.groups) if isinstance(layer, nn.modules.conv._ConvTransposeNd) else None


def channel_rows(weight: Tensor, groups: int | None) -> Tensor:
    """View a weight as ``[output channels, weights per channel]``; `groups` as from `transposed_groups`."""
    if groups is None:
        return weight.flatten(1)
    per_group = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return per_group.transpose(1, 2).flatten(0, 1).flatten(1)


def channel_broadcast(scale: Tensor, weight_shape: torch.Size, groups: int | None) -> Tensor:
    """Shape a scale per output channel ``[channels]`` so that it multiplies a weight of `weight_shape`."""
    kernel = [1] * (len(weight_shape) - 2)
    if groups is None:
        return scale.reshape(-1, 1, *kernel)
    shaped = scale.reshape(groups, -1, *kernel)
    return shaped if groups == 1 else shaped.repeat_interleave(weight_shape[0] // groups, dim=0)


class SearchableWeight(nn.Module):
    """Distribution over discrete values for each weight of one layer.

    In training mode and before the end of the schedule `forward` gives the expected weight; in eval mode, and in
    training mode after the end, the chosen one. `phase` says how far it is.

    Parameters and buffers, all float: ``logits`` ``[len(values), *weight.shape]`` and, with a scale per channel,
    ``scale`` ``[output channels]`` (a buffer where it is fixed). With ``gradient`` descent the logits are a parameter.
    With ``mirror`` descent they are those of the beginning, a buffer, and the parameter is ``shift``
    (``weight.shape``), how far each weight's distribution has moved along the values, in the unit of the weight at the
    first scale (buffer ``first_scale``): `current_logits` are what mirror descent makes of the first ones.

    Args:
        weight: Trained float weight of the layer.
        values: Discrete values.
        groups: As from `transposed_groups`.
        scale: ``per_channel`` learns a scale per output channel, ``per_channel_fixed`` keeps its first one, ``none``
            uses the values as they are, as in the paper.
        sharpness: Sharpness of the logits made from `weight`, and how far a shift moves them.
        random: Whether the first logits are drawn at random: with ``gradient`` descent each of them, as in the paper;
            with ``mirror`` descent they are made as from `weight`, but from random weights as large. It adds a line
            over the values to them, so behind logits that are nearly equal only the outermost values would win.
        descent: ``mirror`` or ``gradient``.
    """

    value_table: Tensor
    slopes: Tensor
    first_scale: Tensor
    final_codes: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        values: ValueSet,
        groups: int | None,
        scale: str,
        sharpness: float = 2.0,
        random: bool = False,
        descent: str = "mirror",
    ) -> None:
        super().__init__()
        self.values = values
        self.groups = groups
        self.phase = Phase()
        self.kind = WeightKind.AUTOMATIC
        self.copies_share_logits = False
        self.weight_shape = weight.shape
        # The table is a constant of the configuration, so it stays out of checkpoints.
        table = torch.tensor(values.table, dtype=weight.dtype, device=weight.device)
        self.register_buffer("value_table", table, persistent=False)
        rows = channel_rows(weight.detach(), groups)
        numbers = table * values.step
        fitted = functional.fit_scale(rows, numbers)
        if random and descent == "gradient":
            logits = functional.random_logits(weight.shape, len(values), rows.shape[1]).to(weight)
        else:
            scaled = weight.detach() / channel_broadcast(fitted, weight.shape, groups)
            begin = functional.random_weight(scaled) if random else scaled
            logits = functional.logits_from_weight(begin, numbers, sharpness)
        self.logits: Tensor
        self.shift: nn.Parameter | None = None
        if descent == "mirror":
            self.register_buffer("logits", logits)
            self.register_buffer("first_scale", fitted.clone())
            self.register_buffer("slopes", functional.slopes_of_logits(numbers, sharpness), persistent=False)
            self.shift = nn.Parameter(torch.zeros_like(weight))
        else:
            self.logits = nn.Parameter(logits)
        self.scale: Tensor | None
        if scale == "per_channel_fixed":
            self.register_buffer("scale", fitted)
        else:
            self.scale = nn.Parameter(fitted) if scale == "per_channel" else None
        self.register_buffer("final_codes", None)

    def decide_gradually(self) -> None:
        """Be ready for `decide`: a buffer ``final_codes`` (uint8, ``weight.shape``) holds what is decided."""
        self.final_codes = torch.full(self.weight_shape, _OPEN, dtype=torch.uint8, device=self.logits.device)

    def forward(self, weight: Tensor | None = None) -> Tensor:
        """The weight to use (``weight.shape``); the argument, the layer's own float weight, is not used."""
        return self._unscaled() * self.multiplier()

    @property
    def searched(self) -> nn.Parameter:
        """The parameter that the search trains."""
        searched = self.logits if self.shift is None else self.shift
        assert isinstance(searched, nn.Parameter)
        return searched

    def current_logits(self) -> Tensor:
        """Logits of the distributions as they are now, ``[len(values), *weight.shape]``."""
        if self.shift is None:
            return self.logits
        slopes = self.slopes.view(-1, *[1] * self.shift.dim())
        return torch.addcmul(self.logits, slopes, self._position(self.shift))

    def _position(self, shift: Tensor) -> Tensor:
        """Shift in units of the values, ``weight.shape``."""
        return shift / channel_broadcast(self.first_scale, self.weight_shape, self.groups)

    def _unscaled(self) -> Tensor:
        in_training = self.kind is WeightKind.AUTOMATIC and self.training
        phase = self.phase
        if in_training and phase.straight_through:
            return self._of_values(functional.chosen_value, 0.0)
        if self.kind is WeightKind.EXPECTED or (in_training and not phase.discrete):
            return self._expected(phase.noise if in_training else 0.0)
        return self.value_table[self.codes().long()]

    def _of_values(self, function: Callable[[Tensor, Tensor, float], Tensor], noise: float) -> Tensor:
        """What a function of logits, values and ``1 / tau`` gives, with the gradient that the descent takes."""
        inverse_temperature = self.phase.inverse_temperature
        with nullcontext() if self.shift is None else torch.no_grad():
            logits = self.current_logits()
            if noise:
                logits = logits + functional.gumbel_noise(logits) * (noise / inverse_temperature)
            result = function(logits, self.value_table, inverse_temperature)
        if self.shift is None:
            return result
        return functional.straight_through(result, self._position(self.shift) / self.values.step)

    def _expected(self, noise: float) -> Tensor:
        expected = self._of_values(functional.expected_value, noise)
        if self.final_codes is None or not self.phase.decided:
            return expected
        return torch.where(self.final_codes == _OPEN, expected, self.value_table[self.codes().long()])

    def multiplier(self) -> Tensor:
        """Factor from table entries to weights: scale times the values' step, broadcastable to ``weight.shape``."""
        if self.scale is None:
            return self.value_table.new_full([1] * len(self.weight_shape), self.values.step)
        return channel_broadcast(self.scale, self.weight_shape, self.groups) * self.values.step

    @torch.no_grad()
    def codes(self) -> Tensor:
        """Chosen codes, uint8, ``weight.shape``: the final one where there is one, else the most probable."""
        codes = functional.chosen_codes(self.current_logits())
        return codes if self.final_codes is None else torch.where(self.final_codes == _OPEN, codes, self.final_codes)

    def __deepcopy__(self, memo: dict[int, Any]) -> SearchableWeight:
        if self.copies_share_logits:
            memo.update({id(shared): shared for shared in (self.logits, self.searched)})
        duplicate = self.__class__.__new__(self.__class__)
        memo[id(self)] = duplicate
        duplicate.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return duplicate

    def confidence(self) -> Tensor:
        """Largest probability of each weight, float, ``weight.shape``."""
        return functional.probabilities(self.current_logits(), self.phase.inverse_temperature).amax(dim=0)

    @property
    def is_decided(self) -> bool:
        """True when every choice is final."""
        return self.final_codes is not None and bool((self.final_codes != _OPEN).all())

    @torch.no_grad()
    def decide(self, share: float) -> None:
        """Make the choice of the most confident weights final, until `share` of them all (0 to 1) are decided.

        Raises:
            RuntimeError: Without `decide_gradually` before.
        """
        if self.final_codes is None:
            raise RuntimeError("decide: call decide_gradually first")
        decided = self.final_codes != _OPEN
        missing = round(share * decided.numel()) - int(decided.sum())
        if missing > 0:
            chosen = self.confidence().masked_fill(decided, -1.0).flatten().topk(missing).indices
            self.final_codes.view(-1)[chosen] = self.codes().view(-1)[chosen]


def decide(modules: Iterable[SearchableWeight], share: float, whole_layers: bool) -> None:
    """Make the most confident choices final, up to `share` (0 to 1): of each layer's weights, or of the layers."""
    modules = list(modules)
    if not whole_layers:
        for module in modules:
            module.decide(share)
        return
    confidence = {module: 2.0 if module.is_decided else float(module.confidence().mean()) for module in modules}
    for module in sorted(modules, key=lambda m: -confidence[m])[: round(share * len(modules))]:
        module.decide(1.0)


@contextmanager
def kind_of_weights(modules: Iterable[SearchableWeight], kind: WeightKind) -> Iterator[None]:
    """Within it, the modules give this kind of weight, whatever mode they are in."""
    before = [(module, module.kind) for module in modules]
    for module, _ in before:
        module.kind = kind
    try:
        yield
    finally:
        for module, old in before:
            module.kind = old


@contextmanager
def shared_logits(model: nn.Module) -> Iterator[None]:
    """Within it, deep copies share logits and shifts, by far the largest tensors, with their originals: for copies that
    only serve to read the chosen codes."""
    modules = [module for module in model.modules() if isinstance(module, SearchableWeight)]
    for module in modules:
        module.copies_share_logits = True
    try:
        yield
    finally:
        for module in modules:
            module.copies_share_logits = False
