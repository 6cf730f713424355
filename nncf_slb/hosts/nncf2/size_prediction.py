"""Bytes of the ``.bin`` file that a network's export will have, known before training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from nncf.common.scopes import should_consider_scope
from nncf.torch.nncf_network import NNCFNetwork

from nncf_slb.config.section import scope_list
from nncf_slb.hosts.nncf2.dry_export import dry_export
from nncf_slb.hosts.nncf2.insertion import Insertions
from nncf_slb.hosts.nncf2.modules import plain_class
from nncf_slb.hosts.nncf2.planning import SearchPlan
from nncf_slb.openvino.call_form import Arguments
from nncf_slb.openvino.size import FileSizes
from nncf_slb.openvino.targets import LoweringSettings
from nncf_slb.search.channels import SEARCHABLE_LAYERS

_FLOAT_BYTES = 4
_RANGE_BYTES = 2 * _FLOAT_BYTES  # a quantized input of NNCF: both ends of its range; the others are equal constants


def file_sizes(
    model: NNCFNetwork,
    insertions: Mapping[int, Insertions],
    names: Iterable[str],
    arguments: Arguments,
    settings: LoweringSettings,
) -> FileSizes:
    """Sizes of the exported files with what is about to be inserted, other algorithms left out.

    Exact but for constants that training makes equal, which the file holds once, and for quantized inputs whose
    `signed` is left open: here they count as signed, up to 8 bytes each.

    Args:
        model: NNCF network into which nothing has been inserted yet; stays as it is.
        insertions: Modules of the layers to search, by the bits of those in `names`.
        names: NNCF's names of the layers whose bits are to be chosen.
        arguments: Arguments of the network, as from `nncf_slb.hosts.nncf2.export.example_arguments`.
        settings: How the network will be exported.

    Raises:
        nncf_slb.openvino.low_bit_model.ExportError: If the network can't be converted.
        nncf_slb.openvino.graph.LoweringError: If the weights of a layer can't be packed.
    """
    paths = {id(module): path for path, module in model.named_modules()}
    layers = {name: paths[id(model.nncf.get_containing_module(name))] for name in names}
    models = {bits: dry_export(model, modules, arguments, settings) for bits, modules in insertions.items()}
    subclassed = {name: f"{path}.coded_weight" for name, path in layers.items() if _is_subclass(model, path)}
    return FileSizes(models, layers | subclassed)


def _is_subclass(model: NNCFNetwork, path: str) -> bool:
    """Whether a layer's class derives from one of torch's: its codes are in a module inside it."""
    return plain_class(model.get_submodule(path)) not in SEARCHABLE_LAYERS


def saved_by_quantization(model: NNCFNetwork, plan: SearchPlan, nncf_config: Mapping[str, Any]) -> int:
    """About how many bytes NNCF's `quantization` beside slb takes off what `file_sizes` gives.

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
