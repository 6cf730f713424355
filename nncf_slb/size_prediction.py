"""Bytes of the ``.bin`` file that a network's export will have, known before training: a trial export of a copy."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from nncf.common.scopes import should_consider_scope
from nncf.common.utils.backend import copy_model
from nncf.torch.nncf_network import NNCFNetwork
from torch import nn

from nncf_slb.activations import ActivationQuantizer
from nncf_slb.batchnorm import STATISTICS, batch_norms
from nncf_slb.config import scope_list
from nncf_slb.nncf_insertion import Insertions
from nncf_slb.nncf_network import to_plain_torch
from nncf_slb.openvino.export import convert
from nncf_slb.planning import SearchPlan
from nncf_slb.strip import FixedActivation, make_low_bit_
from nncf_slb.targets import LoweringSettings

_FLOAT_BYTES = 4
_RANGE_BYTES = 2 * _FLOAT_BYTES  # a quantized input of NNCF: both ends of its range; the others are equal constants


def predict_bin_bytes(
    model: NNCFNetwork, insertions: Insertions, examples: tuple[torch.Tensor, ...], settings: LoweringSettings
) -> int:
    """Bytes of the ``.bin`` file with what is about to be inserted, other algorithms left out.

    Exact but for constants that training makes equal, which the file holds once, and for quantized inputs whose
    `signed` is left open: here they count as signed, up to 8 bytes each.

    Args:
        model: NNCF network into which nothing has been inserted yet; stays as it is.
        insertions: Modules of the layers to search.
        examples: Inputs of the network, as from `nncf_slb.openvino.export.example_inputs`.
        settings: How the network will be exported.

    Raises:
        RuntimeError: Of the converter, if it can't convert the network.
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
        make_low_bit_(layer, insertions.weights[name], None if quantizer is None else fixed[quantizer])
    _make_numbers_differ(plain, numbers)
    converted = convert(plain, examples, settings=settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.xml"
        ov.save_model(converted, path, compress_to_fp16=False)
        return path.with_suffix(".bin").stat().st_size


def _fixed(quantizer: ActivationQuantizer, numbers: torch.Generator) -> FixedActivation:
    """As after training, though the quantizer has seen no data yet; signed, which takes more bytes, unless set."""
    ready = copy.deepcopy(quantizer)
    ready.signed, ready.initialized = ready.signed is not False, True
    _make_numbers_differ(ready, numbers)
    return FixedActivation(ready)


@torch.no_grad()
def _make_numbers_differ(model: nn.Module, numbers: torch.Generator) -> None:
    """Numbers as different as after training: of equal constants, such as the zeros of new biases, a file holds one."""
    statistics = [getattr(layer, name) for layer in batch_norms(model) for name in STATISTICS]
    for tensor in [*model.parameters(), *statistics]:
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=numbers) + 0.5)


def saved_by_quantization(model: NNCFNetwork, plan: SearchPlan, nncf_config: Mapping[str, Any]) -> int:
    """About how many bytes NNCF's `quantization` beside slb takes off what `predict_bin_bytes` gives.

    Weights that are not searched take 8 bits and a scale per channel in place of 32 bits; each layer's input adds the
    ends of its range. 0 if the config holds no `quantization`.
    """
    sections = nncf_config.get("compression")
    for section in sections if isinstance(sections, list) else []:
        if section.get("algorithm") == "quantization":
            weights = list(_quantized_weights(model, plan, nncf_config, section))
            saved = sum((_FLOAT_BYTES - 1) * w.numel() - _FLOAT_BYTES * w.shape[0] for w in weights)
            return saved - _RANGE_BYTES * (len(plan.layers) + len(weights))
    return 0


def _quantized_weights(
    model: NNCFNetwork, plan: SearchPlan, nncf_config: Mapping[str, Any], section: Mapping[str, Any]
) -> Iterator[torch.Tensor]:
    of_weights = section.get("weights", {})
    ignored = [s for part in (nncf_config, section, of_weights) for s in scope_list(part.get("ignored_scopes"))]
    target = scope_list(of_weights.get("target_scopes") or section.get("target_scopes")) or None
    nodes = {node.node_name for node in model.nncf.get_weighted_original_graph_nodes()}
    for name in plan.full_precision:
        if name in nodes and should_consider_scope(name, ignored, target):
            weight = model.nncf.get_containing_module(name).weight
            if weight.dim() > 1:
                yield weight
