"""8-bit weights rounded with regard to what goes into their layers.

To the nearest integer, each weight is rounded by itself. Errors of one output then add up as its inputs correlate,
which they do: neighbouring pixels are nearly equal. Here the error of each weight is made up for by those that are
still to be rounded (Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", 2023, algorithm 1), so that the outputs change least on the samples. ESPCN's first and last layer lose
0.147 dB in integers up to 127 and 2.034 dB up to 64 by the nearest; this way 0.002 and 0.003 dB
(`python -m benchmarks.post_training.edges`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nncf_slb.search.channels import SEARCHABLE_LAYERS, channel_rows, transposed_groups
from nncf_slb.search.hooks import hooked
from nncf_slb.search.runtime import FixedWeight
from nncf_slb.search.scale import nearest_codes

_ELEMENTS = 32_768  # numbers that a sample gives at most, and a few rows at least
_FEWEST_ROWS = 4
_MOST_MOMENTS = 2**26  # of one layer: half a gigabyte
_BLOCK = 128  # inputs that are rounded before the errors go to those behind them
_AT_A_TIME = 2**24  # numbers of all patches of some channels
_DAMPING = 0.01  # of the mean square of the inputs, as in GPTQ
_SAME = 1e-3  # distance of the outputs of a layer that computes as torch's own does, beside the outputs


@torch.no_grad()
def round_with_inputs(
    target: nn.Module, fixed: Mapping[str, FixedWeight], run: Callable[[nn.Module, Any], Any], batches: Iterable[Any]
) -> None:
    """Choose the codes of fixed weights again, in place, where that brings the outputs of their layers nearer.

    Layers that compute with their weight in a way of their own, and weights that functions use, stay as they are.

    Args:
        target: Float network in eval mode.
        fixed: Weights by the path of their layer in `target`; layers may share one.
        run: Runs a network on a batch.
        batches: Some hundreds of samples.
    """
    modules = dict(target.named_modules())
    layers = {path: modules[path] for path in fixed if isinstance(modules.get(path), SEARCHABLE_LAYERS)}
    moments = {path: _Moments(layer) for path, layer in layers.items() if _count_of_moments(layer) <= _MOST_MOMENTS}
    if not moments:
        return
    with hooked(layers[path].register_forward_hook(each.add, with_kwargs=True) for path, each in moments.items()):
        for batch in batches:
            run(target, batch)
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
        is_plain: Whether the layer's outputs were what torch's own layer gives for its weight.
    """

    def __init__(self, layer: nn.Module) -> None:
        inputs = _inputs_of_output(layer)
        self._groups = _groups(layer)
        self._rows = max(_FEWEST_ROWS, _ELEMENTS // inputs)
        self._probe = None if isinstance(layer, nn.Linear) else _probe(layer)
        self._numbers = torch.Generator().manual_seed(0)
        self.total = torch.zeros(self._groups, inputs, inputs, dtype=torch.float64)
        self.is_plain = True

    def add(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        """Forward hook of the layer."""
        x = next(iter((*args, *kwargs.values())))
        self.is_plain &= self._fits(layer, x, output)
        if not self.is_plain:
            return
        if self._probe is None:
            x, of_output = (each.reshape(-1, each.shape[-1]) for each in (x, output))
            chosen = self._chosen(len(x), self._rows * len(output))
            self._count(layer, x[chosen].T[None], of_output[chosen].T)
            return
        is_batch = x.dim() == len(self._probe.kernel_size) + 2
        for sample, given in zip(x, output, strict=True) if is_batch else [(x, output)]:
            chosen = self._chosen(given[0].numel(), self._rows)
            self._count(layer, self._patches(sample, chosen), given.flatten(1)[:, chosen])

    def _fits(self, layer: Any, x: object, output: object) -> bool:
        """Whether the shapes are those of torch's layer."""
        if not (isinstance(x, Tensor) and isinstance(output, Tensor)):
            return False
        if self._probe is None:
            return output.shape == (*x.shape[:-1], layer.out_features)
        dimensions = len(self._probe.kernel_size)
        one = x[:, :1] if x.dim() == dimensions + 2 else x[:1]
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

    def _count(self, layer: Any, columns: Tensor, given: Tensor) -> None:
        """Count columns of patches, for which the layer gave ``[outputs, columns]``."""
        rows = channel_rows(layer.weight, transposed_groups(layer)).reshape(self._groups, -1, columns.shape[1])
        expected = (rows @ columns).flatten(0, 1)
        if layer.bias is not None:
            expected = expected + layer.bias[:, None]
        self.is_plain &= float((expected - given).norm()) <= _SAME * float(given.norm())
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
        padding_mode=layer.padding_mode, **settings,
    )  # fmt: skip
    elements = torch.eye(count).reshape(count, *layer.kernel_size)
    probe.weight = nn.Parameter(elements.unsqueeze(0 if is_transposed else 1), requires_grad=False)
    return probe.to(layer.weight.device, layer.weight.dtype)


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
    wanted = channel_rows(parameter, groups).reshape(shape).cpu().double()
    scale = channel_rows(weight.scale.expand(parameter.shape), groups).reshape(shape)[:, :, :1].cpu().double()
    table = weight.values.cpu().double()
    place = channel_rows(torch.arange(parameter.numel()).reshape(parameter.shape), groups).flatten()
    nearest = weight.codes.flatten().cpu()[place].reshape(wanted.shape).long()
    codes = _codes(wanted / scale, table, moments)
    better = _error(wanted / scale - table[codes], moments) < _error(wanted / scale - table[nearest], moments)
    flat = torch.empty(parameter.numel(), dtype=weight.codes.dtype)
    flat[place] = torch.where(better[..., None], codes, nearest).flatten().to(flat.dtype)
    weight.codes.copy_(flat.reshape(weight.codes.shape))


def _codes(wanted: Tensor, table: Tensor, moments: Tensor) -> Tensor:
    """Codes ``[groups, outputs, inputs]`` of weights in steps, those of the largest inputs first."""
    squares = moments.diagonal(dim1=1, dim2=2)
    damped = moments + torch.diag_embed((_DAMPING * squares.mean(1, keepdim=True)).expand_as(squares).clamp_min(1e-30))
    order = squares.argsort(1, descending=True)
    damped = damped.gather(1, order[:, :, None].expand_as(damped)).gather(2, order[:, None].expand_as(damped))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor = torch.linalg.cholesky(inverse, upper=True)
    order = order[:, None].expand_as(wanted)
    rest = wanted.gather(2, order)
    codes = torch.empty_like(order)
    for start in range(0, wanted.shape[2], _BLOCK):
        errors = rest[:, :, start : start + _BLOCK].clone()
        end = start + errors.shape[2]
        for index in range(start, end):
            chosen = nearest_codes(rest[:, :, index], table)
            codes[:, :, index] = chosen
            error = (rest[:, :, index] - table[chosen]) / factor[:, None, index, index]
            errors[:, :, index - start] = error
            rest[:, :, index + 1 : end] -= error[..., None] * factor[:, None, index, index + 1 : end]
        rest[:, :, end:] -= errors @ factor[:, start:end, end:]
    return torch.empty_like(codes).scatter_(2, order, codes)


def _error(rest: Tensor, moments: Tensor) -> Tensor:
    """Squared error of the outputs ``[groups, outputs]``, in squared steps."""
    error: Tensor = torch.linalg.vecdot(rest @ moments, rest)
    return error
