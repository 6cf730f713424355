"""8-bit weights of first and last layers, rounded at the end of a search with what goes into their layers then.

To the nearest integer, each weight is rounded by itself. Errors of one output then add up as its inputs correlate,
which they do: neighbouring pixels are nearly equal. Here the error of each weight is made up for by those that are
still to be rounded (Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", 2023, algorithm 1), so that the outputs change least on the samples. ESPCN's first and last layer lose
0.147 dB in integers up to 127 and 2.034 dB up to 64 by the nearest; this way 0.002 and 0.004 dB
(`python -m benchmarks.post_training.edges`). The inputs are those of the searched network: its own errors lie where the
float network's inputs say nothing, and a layer rounded for these alone amplifies them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.search.channels import SEARCHABLE_LAYERS, channel_rows, transposed_groups
from nncf_slb.search.hooks import hooked
from nncf_slb.search.runtime import FixedWeight
from nncf_slb.search.scale import nearest_codes

_NUMBERS = 2**25  # of all rows of a layer, about
_SAMPLES = 1000  # that share them, or fewer where their patches together would be more numbers than these
_PATCHES = 2**30
_FEWEST = 4  # samples, and rows of a sample
_MOST_MOMENTS = 2**26  # of one layer: half a gigabyte
_BLOCK = 128  # inputs that are rounded before the errors go to those behind them
_AT_A_TIME = 2**24  # numbers of all patches of some channels
_DAMPING = 0.01  # of the mean square of the inputs, as in GPTQ
_LOOKED_AT = 256  # outputs of a layer
_SAME = 1e-3  # distance of the outputs of a layer that computes as torch's own does, beside the outputs


@contextmanager
def unrounded(fixed: Mapping[str, FixedWeight]) -> Iterator[None]:
    """Within it, layers compute with their float weights."""
    for weight in fixed.values():
        weight.rounds = False
    try:
        yield
    finally:
        for weight in fixed.values():
            weight.rounds = True


@torch.no_grad()
def round_with_inputs(
    target: nn.Module,
    searched: nn.Module,
    fixed: Mapping[str, FixedWeight],
    run: Callable[[nn.Module, Any], Any],
    batches: Iterable[Any],
) -> None:
    """Choose the codes of fixed weights again, in place, where that brings the outputs of their layers nearer.

    Layers that compute with their weight in a way of their own, or that the first batch leaves out, stay as they are;
    so do weights that functions use.

    Args:
        target: Float network in eval mode.
        searched: Network with the same paths whose inputs count, in eval mode.
        fixed: Weights by the path of their layer; layers may share one.
        run: Runs a network on a batch.
        batches: Some hundreds of samples.
    """
    modules = dict(target.named_modules())
    layers = {path: modules[path] for path in fixed if isinstance(modules.get(path), SEARCHABLE_LAYERS)}
    moments = {path: _Moments(layer) for path, layer in layers.items() if _count_of_moments(layer) <= _MOST_MOMENTS}
    places = {path: searched.get_submodule(path) for path in moments}
    for index, batch in enumerate(batches):
        if not index:
            with hooked(layers[path].register_forward_hook(x.look, with_kwargs=True) for path, x in moments.items()):
                run(target, batch)
        left = {path: each for path, each in moments.items() if not each.is_done}
        if not left:
            break
        with hooked(places[path].register_forward_pre_hook(x.add, with_kwargs=True) for path, x in left.items()):
            run(searched, batch)
    for weight in {id(fixed[path]): fixed[path] for path in moments}.values():
        users = [path for path in moments if fixed[path] is weight]
        total = torch.stack([moments[path].total for path in users]).sum(0)
        known = all(moments[path].is_plain for path in users) and bool(total.isfinite().all())
        if known and float(total.diagonal(dim1=1, dim2=2).sum()) > 0:
            _round(weight, layers[users[0]], total)


class _Moments:
    """Sums of products of what the weights of one output are multiplied by.

    Attributes:
        total: float64 ``[groups, inputs of an output, inputs of an output]`` on the CPU.
        is_plain: Whether the layer's outputs were what torch's own layer gives for its weight; None before any.
    """

    def __init__(self, layer: nn.Module) -> None:
        inputs = _inputs_of_output(layer)
        self._groups = _groups(layer)
        self._probe = None if isinstance(layer, nn.Linear) else _probe(layer)
        self._left, self._rows = _SAMPLES, 0
        self._numbers = torch.Generator().manual_seed(0)
        self.total = torch.zeros(self._groups, inputs, inputs, dtype=torch.float64)
        self.is_plain: bool | None = None

    @property
    def is_done(self) -> bool:
        """Whether more samples would change nothing."""
        return not (self.is_plain and self._left)

    def look(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        """Forward hook of the float layer: whether it gives what torch's own does."""
        x = next(iter((*args, *kwargs.values())))
        self.is_plain = self.is_plain is not False and self._fits(layer, x, output)
        if not self.is_plain:
            return
        assert isinstance(output, Tensor)
        rows = channel_rows(layer.weight, transposed_groups(layer)).reshape(self._groups, -1, self.total.shape[-1])
        if self._probe is None:
            expected, given = x @ layer.weight.T, output if layer.bias is None else output - layer.bias
        else:
            sample, given = (x[0], output[0]) if self._is_batch(x) else (x, output)
            chosen = self._chosen(given[0].numel(), _LOOKED_AT)
            expected = (rows @ self._patches(sample, chosen)).flatten(0, 1)
            given = given.flatten(1)[:, chosen]
            given = given if layer.bias is None else given - layer.bias[:, None]
        self.is_plain = float((expected - given).norm()) <= _SAME * float(given.norm())

    def add(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the layer in the searched network."""
        x = next(iter((*args, *kwargs.values())))
        if self._probe is None:
            rows = x.reshape(-1, x.shape[-1])
            chosen = self._chosen(len(rows), self._share(_SAMPLES) * len(x))
            self._count(rows[chosen].T[None])
            return
        for sample in x if self._is_batch(x) else [x]:
            positions = self._probe(sample[None, :1])[0, 0].numel()
            if not self._rows:
                of_sample = self._probe.weight[0, 0].numel() * len(sample) * positions
                self._left = max(_FEWEST, min(_SAMPLES, _PATCHES // of_sample))
                self._rows = self._share(self._left)
            if self._left:
                self._left -= 1
                self._count(self._patches(sample, self._chosen(positions, self._rows)))

    def _is_batch(self, x: Tensor) -> bool:
        return self._probe is not None and x.dim() == len(self._probe.kernel_size) + 2

    def _share(self, samples: int) -> int:
        """Rows of one of so many samples."""
        return max(_FEWEST, _NUMBERS // (samples * self.total.shape[-1]))

    def _fits(self, layer: Any, x: object, output: object) -> bool:
        """Whether the shapes are those of torch's layer."""
        if not (isinstance(x, Tensor) and isinstance(output, Tensor)):
            return False
        if self._probe is None:
            return output.shape == (*x.shape[:-1], layer.out_features)
        dimensions = len(self._probe.kernel_size)
        one = x[:, :1] if self._is_batch(x) else x[:1]
        try:
            return bool(output.shape[-dimensions:] == self._probe(one).shape[-dimensions:])
        except RuntimeError:  # smaller than the kernel: a class that pads by itself
            return False

    def _patches(self, sample: Tensor, chosen: Tensor) -> Tensor:
        """Columns ``[groups, inputs of an output, chosen]`` of elements of the outputs for ``[channels, ...]``."""
        assert self._probe is not None
        channels = max(1, _AT_A_TIME // (self._probe.weight[0, 0].numel() * sample[0].numel()))
        found = [self._probe(part).flatten(2)[:, :, chosen] for part in torch.split(sample[:, None], channels)]
        return torch.cat(found).reshape(self._groups, -1, len(chosen))

    def _chosen(self, count: int, most: int) -> Tensor:
        return torch.randperm(count, generator=self._numbers)[:most]

    def _count(self, columns: Tensor) -> None:
        self.total += torch.bmm(columns, columns.transpose(1, 2)).cpu()


def _inputs_of_output(layer: nn.Module) -> int:
    weight: Any = layer.weight
    return int(channel_rows(weight, transposed_groups(layer)).shape[1])


def _groups(layer: Any) -> int:
    return 1 if isinstance(layer, nn.Linear) else int(layer.groups)


def _count_of_moments(layer: nn.Module) -> int:
    return _groups(layer) * _inputs_of_output(layer) ** 2


def _probe(layer: Any) -> Any:
    """A convolution of one channel whose outputs are what each element of the kernel is multiplied by."""
    count = layer.weight[0, 0].numel()
    kind: Any = next(base for base in type(layer).__mro__ if base in SEARCHABLE_LAYERS)
    is_transposed = transposed_groups(layer) is not None
    settings = {"output_padding": layer.output_padding} if is_transposed else {}
    probe = kind(
        1, count, layer.kernel_size, layer.stride, layer.padding, dilation=layer.dilation, bias=False,
        padding_mode=layer.padding_mode, device="meta", **settings,
    )  # fmt: skip
    elements = torch.eye(count).reshape(count, *layer.kernel_size)
    probe.weight = nn.Parameter(elements.unsqueeze(0 if is_transposed else 1), requires_grad=False)
    return probe.to(layer.weight.device, layer.weight.dtype)  # without random numbers, which are the user's


def _round(weight: FixedWeight, layer: nn.Module, moments: Tensor) -> None:
    """Choose codes for the moments of the inputs, channel by channel, where they are nearer than those that are there.

    Args:
        weight: Its codes change in place.
        layer: Float layer.
        moments: float64 ``[groups, inputs of an output, inputs of an output]`` on the CPU.
    """
    parameter: Any = layer.weight
    groups = transposed_groups(layer)
    shape = len(moments), -1, moments.shape[-1]
    steps = channel_rows(parameter / weight.scale, groups).reshape(shape).cpu()
    place = channel_rows(torch.arange(parameter.numel()).reshape(parameter.shape), groups).flatten()
    nearest = weight.codes.cpu().flatten()[place].reshape(steps.shape)
    rounding = _Rounding(moments, weight.values.cpu().double())
    outputs = max(1, _AT_A_TIME // (len(moments) * moments.shape[-1]) // 4)
    parts = zip(torch.split(steps, outputs, 1), torch.split(nearest, outputs, 1), strict=True)
    codes = torch.cat([rounding.nearer(*part) for part in parts], 1)
    flat = torch.empty_like(nearest.flatten())
    flat[place] = codes.flatten()
    weight.codes.copy_(flat.reshape(weight.codes.shape))


class _Rounding:
    """Rounds weights for the moments of their inputs, those of the largest inputs first.

    Args:
        moments: float64 ``[groups, inputs, inputs]``.
        table: float64, the integers that there are.
    """

    def __init__(self, moments: Tensor, table: Tensor) -> None:
        squares = moments.diagonal(dim1=1, dim2=2)
        noise = (_DAMPING * squares.mean(1, keepdim=True)).expand_as(squares).clamp_min(1e-30)
        order = squares.argsort(1, descending=True)
        damped = moments + torch.diag_embed(noise)
        damped = damped.gather(1, order[:, :, None].expand_as(damped)).gather(2, order[:, None].expand_as(damped))
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
        self._factor = torch.linalg.cholesky(inverse, upper=True)
        self._order, self._moments, self._table = order, moments, table

    def nearer(self, steps: Tensor, codes: Tensor) -> Tensor:
        """Codes for weights in steps, in place of those given for the outputs that they bring nearer.

        Args:
            steps: Float ``[groups, outputs, inputs]``.
            codes: uint8, likewise.
        """
        found = self._codes(steps.double())
        is_nearer = self._error(steps, found) < self._error(steps, codes.long())
        return torch.where(is_nearer[..., None], found.to(codes.dtype), codes)

    def _codes(self, steps: Tensor) -> Tensor:
        order = self._order[:, None].expand_as(steps)
        rest, codes = steps.gather(2, order), torch.empty_like(order)
        for start in range(0, steps.shape[2], _BLOCK):
            errors = rest[:, :, start : start + _BLOCK].clone()
            end = start + errors.shape[2]
            for index in range(start, end):
                row = self._factor[:, None, index, index:end]
                chosen = nearest_codes(rest[:, :, index], self._table)
                error = (rest[:, :, index] - self._table[chosen]) / row[..., 0]
                codes[:, :, index], errors[:, :, index - start] = chosen, error
                rest[:, :, index + 1 : end] -= error[..., None] * row[..., 1:]
            rest[:, :, end:] -= errors @ self._factor[:, start:end, end:]
        return torch.empty_like(codes).scatter_(2, order, codes)

    def _error(self, steps: Tensor, codes: Tensor) -> Tensor:
        """Squared error of the outputs ``[groups, outputs]``, in squared steps."""
        rest = steps.double() - self._table[codes]
        error: Tensor = torch.linalg.vecdot(rest @ self._moments, rest)
        return error
