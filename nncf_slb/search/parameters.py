"""The parameters of a searched network, apart for optimizers that treat them differently."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from nncf_slb.search.searchable import searchable_weights

_MATRIX = 2


def weight_count(parameters: Iterable[Tensor]) -> int:
    """Numbers in parameters of two dimensions or more, each counted once."""
    return sum({id(parameter): parameter.numel() for parameter in parameters if parameter.dim() >= _MATRIX}.values())


def logits_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What moves the logits of all searched weights that are being trained, each once, in the order of the modules.

    Latents with mirror descent, the logits themselves with gradient descent (`params.descent`).
    """
    searched = (searchable.searched for searchable in searchable_weights(model))
    return list(dict.fromkeys(parameter for parameter in searched if parameter.requires_grad))


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as (logits, all others), for separate optimizers or parameter groups.

    With mirror descent the learning rates of a float network suit both (measured: Adam at 0.01 on Fashion-MNIST), but
    weight decay pulls latents towards zero, and their distributions with them. With gradient descent logits want a rate
    of their own, and no weight decay (measured: Adam at 0.02, beside 0.01 for the rest).
    """
    logits = logits_parameters(model)
    logit_ids = {id(p) for p in logits}
    return logits, [p for p in model.parameters() if p.requires_grad and id(p) not in logit_ids]
