"""Conversion of a network as it will be exported, before it is trained: a copy of it, with what is to be inserted."""

from __future__ import annotations

import openvino as ov
import torch
from nncf.common.utils.backend import copy_model
from nncf.torch.nncf_network import NNCFNetwork
from torch import nn

from nncf_slb.hosts.nncf2.insertion import Insertions
from nncf_slb.hosts.nncf2.network import to_plain_torch
from nncf_slb.hosts.trial import make_numbers_differ, trial_activation
from nncf_slb.openvino.call_form import Arguments
from nncf_slb.openvino.low_bit_model import convert, form_of_call
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.runtime import FixedActivation, make_low_bit_
from nncf_slb.search.strip import codes_of


def dry_export(
    model: NNCFNetwork, insertions: Insertions, arguments: Arguments, settings: LoweringSettings
) -> ov.Model:
    """The network as it will be exported, other algorithms left out, with random numbers in place of trained ones.

    Args:
        model: NNCF network into which nothing has been inserted yet; stays as it is.
        insertions: Modules of the layers to search.
        arguments: Arguments of the network, as from `nncf_slb.hosts.nncf2.export.example_arguments`.
        settings: How the network will be exported.

    Raises:
        nncf_slb.openvino.low_bit_model.ExportError: If the network can't be converted.
        nncf_slb.openvino.graph.LoweringError: If the weights of a layer can't be packed.
    """
    trial = copy_model(model)
    layers = {name: trial.nncf.get_containing_module(name) for name in insertions.weights}
    plain = to_plain_torch(trial).eval()
    numbers = torch.Generator().manual_seed(0)
    fixed: dict[nn.Module, FixedActivation] = {}
    for name, layer in layers.items():
        quantizer = insertions.quantizers.get(name)
        if quantizer is not None and quantizer not in fixed:
            fixed[quantizer] = trial_activation(quantizer, numbers)
        make_low_bit_(layer, codes_of(insertions.weights[name]), None if quantizer is None else fixed[quantizer])
    make_numbers_differ(plain, numbers)
    form, tensors = form_of_call(plain, *arguments)
    return convert(plain, tensors, form, settings=settings)
