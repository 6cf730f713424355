"""What is checked of a network before a host touches it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from nncf_slb.errors import SLBError
from nncf_slb.search.runtime import CodedWeight
from nncf_slb.search.searchable import SearchableWeight

FUNCTION_HOOKS = "__nncf_hooks"  # where NNCF's function hooks keep what they have put into a network


class ModelError(SLBError, ValueError):
    """A network, or a state of torch, with which `create_compressed_model` cannot work; the message says what to do."""


def model_problems(model: nn.Module) -> Iterator[str]:
    """A line for each reason why no search can be put into a network."""
    if not isinstance(model, nn.Module):
        yield f"model: received {type(model).__name__}; allowed is a torch.nn.Module"
        return
    if any(is_lazy(p) for p in model.parameters()):
        yield "model: received layers without weights yet (torch's lazy modules); run one batch through it first"
        return
    if torch.is_inference_mode_enabled() or any(p.is_inference() for p in model.parameters()):
        yield (
            "torch.inference_mode: received a network made, or to be compressed, in inference mode, whose weights no "
            "training can change; allowed: outside of it. Build the network and call create_compressed_model without "
            "inference_mode"
        )
    if any(p.is_meta for p in model.parameters()):
        yield "model: received weights on the device meta, which are none; allowed is a network with weights"
    if isinstance(model, torch.jit.ScriptModule):
        yield "model: received a TorchScript module; allowed is the torch.nn.Module that it was made from"
    if isinstance(model, nn.DataParallel | DistributedDataParallel):
        yield (
            f"model: received {type(model).__name__}; allowed is the network itself. Pass model.module, and wrap what "
            "comes of it"
        )
    if type(model).__name__ == "NNCFNetwork" or hasattr(model, "nncf"):
        yield (
            "model: received a network that NNCF 2.19 has compressed; allowed is a float network. Name all algorithms "
            "in one config, and hand over the network that create_compressed_model has not seen"
        )
    elif any(isinstance(module, SearchableWeight) for module in model.modules()):
        yield (
            "model: received a network that is being searched already; allowed is a float network. Use the controller "
            "that the first create_compressed_model returned, or build the network anew"
        )
    elif any(isinstance(module, CodedWeight) for module in model.modules()):
        yield (
            "model: received a network whose weights are codes already, as strip() gives it; allowed is a float "
            "network. Build the network anew and load its float weights"
        )
