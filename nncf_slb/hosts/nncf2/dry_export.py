"""Conversion of a network as it will be exported, before it is trained: a copy of it, with what is to be inserted."""

from __future__ import annotations

import copy

import openvino as ov
import torch
from nncf.common.utils.backend import copy_model
from nncf.torch.nncf_network import NNCFNetwork
from torch import nn

from nncf_slb.hosts.nncf2.insertion import Insertions
from nncf_slb.hosts.nncf2.network import to_plain_torch
from nncf_slb.openvino.call_form import Arguments
from nncf_slb.openvino.export import convert, form_of_call
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.batchnorm import STATISTICS, batch_norms
from nncf_slb.search.runtime import CodedWeight, FixedActivation, make_low_bit_
from nncf_slb.search.strip import chosen_codes, fixed_activation


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
        nncf_slb.openvino.export.ExportError: If the network can't be converted.
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
            fixed[quantizer] = _fixed(quantizer, numbers)
        make_low_bit_(layer, chosen_codes(insertions.weights[name]), None if quantizer is None else fixed[quantizer])
    _make_numbers_differ(plain, numbers)
    form, tensors = form_of_call(plain, *arguments)
    return convert(plain, tensors, form, settings=settings)


def _fixed(quantizer: ActivationQuantizer, numbers: torch.Generator) -> FixedActivation:
    """As after training, though the quantizer has seen no data yet; signed, which takes more bytes, unless set."""
    ready = copy.deepcopy(quantizer)
    ready.signed, ready.initialized = ready.signed is not False, True
    _make_numbers_differ(ready, numbers)
    return fixed_activation(ready)


@torch.no_grad()
def _make_numbers_differ(model: nn.Module, numbers: torch.Generator) -> None:
    """Numbers as different as after training: of equal constants, such as the zeros of new biases, a file holds one."""
    statistics = [getattr(layer, name) for layer in batch_norms(model) for name in STATISTICS]
    # Scales are as different as they are fitted, but one of a group of a transposed convolution comes several times.
    scales = {id(module.scale) for module in model.modules() if isinstance(module, CodedWeight)}
    for tensor in [*model.parameters(), *statistics]:
        if tensor.is_floating_point() and id(tensor) not in scales:
            tensor.copy_(torch.rand(tensor.shape, generator=numbers) + 0.5)
