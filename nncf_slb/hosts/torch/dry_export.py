"""Export of a network before it is searched, so that what cannot be exported costs seconds and no training."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from torch import nn

from nncf_slb.config.section import SLBConfig
from nncf_slb.hosts.exporting import refused_before_training
from nncf_slb.hosts.torch.planning import Plan
from nncf_slb.hosts.torch.search import trial_network
from nncf_slb.openvino.graph import LoweringError
from nncf_slb.openvino.low_bit_model import ExportError, convert, form_of_call
from nncf_slb.openvino.targets import LoweringSettings

logger = logging.getLogger("nncf_slb")


def dry_export(
    network: nn.Module, plan: Plan, config: SLBConfig, bits: Mapping[str, int],
    example: tuple[tuple[Any, ...], dict[str, Any]], lowering: LoweringSettings,
) -> None:  # fmt: skip
    """Convert a network as a search will leave it, in memory only.

    Args:
        network: Float network, which stays as it is.
        plan: Layers to search.
        config: Settings.
        bits: Bits of the layers whose settings say ``auto``.
        example: Arguments to convert it with.
        lowering: How it will be exported.

    Raises:
        ExportError: With what the export says, and how to do without one.
    """
    start = time.perf_counter()
    try:
        trial = trial_network(network, plan, config, bits)
        form, tensors = form_of_call(trial, *example)
        convert(trial, tensors, form, settings=lowering)
    except (ExportError, LoweringError) as error:
        raise refused_before_training(error, network) from error
    logger.info("slb: a dry export of the network took %.1f s", time.perf_counter() - start)
