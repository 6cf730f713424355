"""What trainers put around a network's ``forward``, taken off again."""

from __future__ import annotations

from torch import nn

_KEPT = "_original_forward"  # accelerate's name (1.15), also under Hugging Face's Trainer with bf16 or fp16


def take_off_wrappers(network: nn.Module) -> None:
    """Give a copy of a network its own ``forward`` back where a trainer has replaced it, as for mixed precision."""
    own = network.__dict__.pop(_KEPT, None)
    if own is None:
        return
    if getattr(own, "__func__", None) is type(network).forward:
        network.__dict__.pop("forward", None)
    else:  # a host's own, such as that of NNCF's function hooks
        network.__dict__["forward"] = own
