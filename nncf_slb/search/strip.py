"""From what training holds to what a deployed network runs: codes and scales, fixed quantizers of inputs."""

from __future__ import annotations

import torch

from nncf_slb.errors import SLBError
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.runtime import Codes, FixedActivation, FixedWeight
from nncf_slb.search.searchable import SearchableWeight


class StripError(SLBError, RuntimeError):
    """A network that cannot be stripped yet; the message says what to do first."""


def chosen_codes(searchable: SearchableWeight) -> Codes:
    """What the search has chosen; the scale absorbs the step of the values."""
    table = searchable.value_table
    values = table.to(torch.int8) if searchable.values.is_integer else table.clone()
    return Codes(searchable.codes(), values, searchable.multiplier().detach().clone(), searchable.values.bits)


def codes_of(weight: SearchableWeight | FixedWeight) -> Codes:
    """`chosen_codes` of a searched weight, and a copy of what a fixed one holds."""
    if isinstance(weight, SearchableWeight):
        return chosen_codes(weight)
    return Codes(weight.codes.clone(), weight.values.clone(), weight.scale.detach().clone(), weight.bits)


def fixed_activation(quantizer: ActivationQuantizer) -> FixedActivation:
    """A quantizer as training left it.

    Raises:
        StripError: If it has seen no data, so that its step means nothing.
    """
    if not quantizer.initialized:
        raise StripError(
            f"a {quantizer.bits}-bit quantizer of inputs has seen no data, so it has no step. Give the search a data "
            "loader when it is created, or train, or load a checkpoint"
        )
    if quantizer.bits == 1:
        return FixedActivation(1)
    return FixedActivation(quantizer.bits, quantizer.step().detach().clone(), quantizer.levels)
