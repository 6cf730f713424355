"""What stands between the layers of the networks without shortcuts."""

from __future__ import annotations

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "hardtanh": nn.Hardtanh}


def make_activation(name: str) -> nn.Module:
    """Module of the name ``relu`` or ``hardtanh``.

    ``hardtanh`` is for 1-bit inputs, where the next layer takes the sign: it keeps the sign, and its gradient ends
    where that of the sign ends, at -1 and 1. A ReLU would let none through where the sign is -1.

    Raises:
        ValueError: On any other name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: received {name!r}; allowed: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()
