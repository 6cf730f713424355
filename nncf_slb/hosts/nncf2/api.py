"""Functions for the user's training loop that take the controller of `slb`, or of a composite that holds one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nncf.api.compression import CompressionStage
from nncf.common.quantization.structs import QuantizationScheme
from torch import nn

from nncf_slb.hosts.nncf2.controller import child_controller

# Classes besides plain Python types in the compression state of slb and of NNCF's quantization (found by
# torch.serialization.get_unsafe_globals_in_checkpoint): pass them to torch.serialization.safe_globals to load a
# checkpoint with weights_only=True.
CHECKPOINT_TYPES = (CompressionStage, QuantizationScheme)


@contextmanager
def searched_network(ctrl: Any) -> Iterator[nn.Module]:
    """Context in which the model's eval mode runs the expected (continuous) weights.

    Raises:
        TypeError: If `ctrl` neither is nor holds a controller of `slb`.
    """
    with child_controller(ctrl).searched_network() as model:
        yield model
