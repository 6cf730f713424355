"""Functions for the user's training loop; each takes the controller of `slb` or a composite that holds one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nncf.api.compression import CompressionStage
from nncf.common.quantization.structs import QuantizationScheme
from torch import nn

from nncf_slb.algo import child_controller
from nncf_slb.layers import SearchableWeight

# Classes besides plain Python types in the compression state of slb and of NNCF's quantization (found by
# torch.serialization.get_unsafe_globals_in_checkpoint): pass them to torch.serialization.safe_globals to load a
# checkpoint with weights_only=True.
CHECKPOINT_TYPES = (CompressionStage, QuantizationScheme)


def logits_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Logits of all searched weights that are being trained, each once, in the order of the model's modules."""
    logits = (m.logits for m in model.modules() if isinstance(m, SearchableWeight))
    return list(dict.fromkeys(p for p in logits if p.requires_grad))


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as (logits, all others), for separate optimizers or parameter groups.

    Measured: Adam at 0.02 without weight decay on the logits and at 0.01 on the rest did best on Fashion-MNIST.
    """
    logits = logits_parameters(model)
    chosen = {id(p) for p in logits}
    return logits, [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]


@contextmanager
def searched_network(ctrl: Any) -> Iterator[nn.Module]:
    """Context in which the model's eval mode runs the expected (continuous) weights.

    Raises:
        TypeError: If `ctrl` neither is nor holds a controller of `slb`.
    """
    with child_controller(ctrl).searched_network() as model:
        yield model
