"""Networks that hold a NaN or an infinity are an error before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from nncf_slb.errors import SLBError

_OWN = "nncf_slb."


class NotFiniteError(SLBError, ValueError):
    """Numbers that are not finite; the message names each tensor that holds some."""


def refuse_not_finite(model: nn.Module) -> None:
    """Check parameters, statistics of normalizations and what the search keeps: logits, scales, steps.

    Other buffers may hold infinities, as masks and the observers of quantizers do, but no NaN.

    Raises:
        NotFiniteError: Naming every tensor that holds numbers that are not finite.
    """
    complaints = list(_not_finite(model))
    if complaints:
        raise NotFiniteError(
            "the network holds numbers that are not finite (NaN or infinity), so there is nothing to make of it:\n  "
            + "\n  ".join(complaints)
            + "\nGo back to a checkpoint from before the loss became NaN, and train on with a lower learning rate"
        )


def _not_finite(model: nn.Module) -> Iterator[str]:
    for path, module in model.named_modules():
        infinite = isinstance(module, _NormBase) or type(module).__module__.startswith(_OWN)
        for name, parameter in module._parameters.items():
            yield from _complaint(f"{path}.{name}", parameter, infinite=True)
        for name, buffer in module._buffers.items():
            yield from _complaint(f"{path}.{name}", buffer, infinite=infinite)


def _complaint(name: str, tensor: Tensor | None, infinite: bool) -> Iterator[str]:
    if tensor is None or not tensor.is_floating_point():
        return
    wrong = ~tensor.isfinite() if infinite else tensor.isnan()
    if bool(wrong.any()):
        yield f"{name.lstrip('.')}: {int(wrong.sum())} of {tensor.numel()} numbers"
