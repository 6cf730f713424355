"""What a search without labels trains, and how fast each of it moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.normalization import GroupNorm, LayerNorm, RMSNorm

from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.hooks import hooked
from nncf_slb.search.products import sum_of_products
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState

if TYPE_CHECKING:
    from nncf_slb.search.reconstruction import Recipe

_NORMS = (_BatchNorm, LayerNorm, GroupNorm, RMSNorm)
_BIAS_OF = "bias_of"
_SHARE = 0.01


def trained_groups(searched: nn.Module, search: SearchState, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Groups for an optimizer: latents and scales, numbers of norms, biases and quantizers; no other weights.

    Rates of latents and scales are relative to each layer's own.

    Args:
        searched: Network with a search in it; what is not trained takes no gradient from now on.
        search: State of the search.
        recipe: Rates.
    """
    by_latent = {id(weight.searched): weight for weight in search.weights}
    scales = [weight.scale for weight in search.weights if isinstance(weight.scale, nn.Parameter)]
    numbers: dict[int, nn.Parameter] = {}
    biases: dict[int, tuple[str, nn.Parameter]] = {}
    for path, module in searched.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and name == "bias" and parameter.dim() == 1:
                biases.setdefault(id(parameter), (path, parameter))
            elif parameter is not None and isinstance(module, (*_NORMS, ActivationQuantizer)):
                numbers[id(parameter)] = parameter
    for parameter in searched.parameters():
        parameter.requires_grad_(False)
    for weight in by_latent.values():
        yield _group([weight.searched], recipe.latent_rate * _latent_unit(weight))
    for scale in scales:
        yield _group([scale], recipe.scale_rate * float(scale.detach().abs().mean()))
    if numbers:
        yield _group(list(numbers.values()), recipe.other_rate)
    for path, bias in biases.values():
        yield {**_group([bias], recipe.other_rate), _BIAS_OF: path}


def within_outputs(
    groups: Sequence[dict[str, Any]], rates: Sequence[float], target: nn.Module, run: Callable[[], object]
) -> list[float]:
    """The rates, those of biases at most a hundredth of what their layers give (root of the mean square).

    So a network of small numbers, such as one for signals in volts, is searched as the same one in millivolts.

    Args:
        groups: Those of `trained_groups`.
        rates: Rate of each.
        target: Float network in eval mode.
        run: Runs it on a batch.
    """
    sizes: dict[str, float] = {}

    def measure(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point() and output.numel():
                sizes[path] = float(sum_of_products(output, output) / output.numel()) ** 0.5

        return hook

    modules = dict(target.named_modules())
    paths = [group[_BIAS_OF] for group in groups if group.get(_BIAS_OF) in modules]
    with hooked(modules[path].register_forward_hook(measure(path)) for path in paths), torch.no_grad():
        run()
    limits = [_SHARE * sizes.get(group.get(_BIAS_OF, ""), 0.0) for group in groups]
    return [min(rate, limit) if limit else rate for rate, limit in zip(rates, limits, strict=True)]


def _group(parameters: list[nn.Parameter], rate: float) -> dict[str, Any]:
    for parameter in parameters:
        parameter.requires_grad_(True)
    return {"params": parameters, "lr": rate}


@torch.no_grad()
def _latent_unit(weight: SearchableWeight) -> float:
    """Mean distance between neighbouring values over a layer's channels, by the root of the number of distances."""
    table = weight.values.table
    return float(weight.multiplier().abs().mean()) * (max(table) - min(table)) / math.pow(len(table) - 1, 1.5)
