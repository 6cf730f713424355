"""The arguments with which NNCF saw a network."""

from __future__ import annotations

from typing import Any

from nncf_slb.openvino.call_form import Arguments, captured_arguments
from nncf_slb.search.batchnorm import preserved_modes


def example_arguments(network: Any) -> Arguments:
    """Arguments with which NNCF saw the network, on its device: those that its ``dummy_forward_fn`` gives, or from
    ``input_info``, else a batch of the data loader.

    Raises:
        TypeError: If it is no NNCF network.
    """
    interface = getattr(network, "nncf", None)
    if interface is None:
        raise TypeError("network: allowed is an NNCF network")
    with preserved_modes(network):  # input_info may ask for random numbers
        if interface._user_dummy_forward_fn is not None:
            return captured_arguments(network, lambda: interface._user_dummy_forward_fn(network))
        args, kwargs = interface.input_infos.get_forward_inputs(next(network.parameters()).device)
    return tuple(args), dict(kwargs)
