"""8-bit weights rounded with regard to what goes into their layers.

To the nearest integer, each weight is rounded by itself. Errors of one output then add up as its inputs correlate,
which they do: neighbouring pixels are nearly equal. Here the error of each weight is made up for by those that are
still to be rounded (Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", 2023, algorithm 1), so that the outputs change least on the samples. ESPCN's first and last layer lose
0.147 dB in integers up to 127 and 2.03 dB up to 64 by the nearest, 0.001 dB in both this way.
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
_MOST_INPUTS = 8192  # of one output: beyond, their moments take half a gigabyte
_AT_A_TIME = 2**24  # numbers of all patches of some channels
_DAMPING = 0.01  # of the mean square of the inputs, as in GPTQ


@torch.no_grad()
def round_with_inputs(
    target: nn.Module, fixed: Mapping[str, FixedWeight], run: Callable[[nn.Module, Any], Any], batches: Iterable[Any]
) -> None:
    """Choose the codes of fixed weights again, in place, where that brings the outputs of their layers nearer.

    Layers of classes other than torch's own, and weights that functions use, stay as they are.

    Args:
        target: Float network in eval mode.
        fixed: Weights by the path of their layer in `target`; layers may share one.
        run: Runs a network on a batch.
        batches: Some hundreds of samples.
    """
    modules = dict(target.named_modules())
    layers = {path: modules[path] for path in fixed if type(modules.get(path)) in SEARCHABLE_LAYERS}
    moments = {path: _Moments(layer) for path, layer in layers.items() if _inputs_of_output(layer) <= _MOST_INPUTS}
    if not moments:
        return
    with hooked(layers[path].register_forward_pre_hook(each.add) for path, each in moments.items()):
        for batch in batches:
            run(target, batch)
    for weight in {id(fixed[path]): fixed[path] for path in moments}.values():
        users = [path for path in moments if fixed[path] is weight]
        total = torch.stack([moments[path].total for path in users]).sum(0)
        if bool(total.isfinite().all()) and float(total.diagonal(dim1=1, dim2=2).sum()) > 0:
            _round(weight, layers[users[0]], total)


class _Moments:
    """Sums of products of what the weights of one output are multiplied by.

    Attributes:
        total: float64 ``[groups, inputs of an output, inputs of an output]`` on the CPU.
    """

    def __init__(self, layer: nn.Module) -> None:
        inputs = _inputs_of_output(layer)
        self._groups = 1 if isinstance(layer, nn.Linear) else int(layer.groups)  # type: ignore[arg-type]
        self._rows = max(_FEWEST_ROWS, _ELEMENTS // inputs)
        self._probe = None if isinstance(layer, nn.Linear) else _probe(layer)
        self._numbers = torch.Generator().manual_seed(0)
        self.total = torch.zeros(self._groups, inputs, inputs, dtype=torch.float64)

    def add(self, layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Forward pre-hook of the layer."""
        (x, *_) = args
        if self._probe is None:
            samples = x.reshape(-1, x.shape[-1])
            rows = samples[self._chosen(len(samples), self._rows * len(x))]
            self._count(rows.T[None])
            return
        batched = x if x.dim() == len(self._probe.kernel_size) + 2 else x[None]
        for sample in batched:
            self._count(self._patches(sample))

    def _patches(self, sample: Tensor) -> Tensor:
        """Columns ``[groups, inputs of an output, rows]`` of some elements of a sample ``[channels, ...]``."""
        assert self._probe is not None
        kernel = self._probe.weight.numel() // self._probe.weight[:1, :1].numel()
        channels = max(1, _AT_A_TIME // (kernel * sample[0].numel()))
        found, chosen = [], None
        for part in torch.split(sample[:, None], channels):
            patches = self._probe(part).flatten(2)
            chosen = self._chosen(patches.shape[2], self._rows) if chosen is None else chosen
            found.append(patches[:, :, chosen])
        columns = torch.cat(found)
        return columns.reshape(self._groups, -1, columns.shape[2])

    def _chosen(self, count: int, most: int) -> Tensor:
        return torch.randperm(count, generator=self._numbers)[:most]

    def _count(self, columns: Tensor) -> None:
        self.total += torch.bmm(columns, columns.transpose(1, 2)).cpu()


def _inputs_of_output(layer: nn.Module) -> int:
    weight: Any = layer.weight
    return int(channel_rows(weight, transposed_groups(layer)).shape[1])


def _probe(layer: Any) -> Any:
    """A convolution of one channel whose outputs are what each element of the kernel is multiplied by."""
    count = layer.weight[0, 0].numel()
    probe = type(layer)(
        1, count, layer.kernel_size, layer.stride, layer.padding, dilation=layer.dilation, bias=False,
        padding_mode=layer.padding_mode,
    )  # fmt: skip
    elements = torch.eye(count).reshape(count, *layer.kernel_size)
    probe.weight = nn.Parameter(elements.unsqueeze(0 if transposed_groups(layer) else 1), requires_grad=False)
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
    for index in range(wanted.shape[2]):
        chosen = nearest_codes(rest[:, :, index], table)
        codes[:, :, index] = chosen
        error = (rest[:, :, index] - table[chosen]) / factor[:, None, index, index]
        rest[:, :, index + 1 :] -= error[..., None] * factor[:, None, index, index + 1 :]
    return torch.empty_like(codes).scatter_(2, order, codes)


def _error(rest: Tensor, moments: Tensor) -> Tensor:
    """Squared error of the outputs ``[groups, outputs]``, in squared steps."""
    error: Tensor = torch.linalg.vecdot(rest @ moments, rest)
    return error
