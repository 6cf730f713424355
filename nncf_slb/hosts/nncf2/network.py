"""What the algorithm reads from NNCF's network, and the way back to plain torch."""

from __future__ import annotations

from nncf.common.graph import NNCFNode
from nncf.torch.layers import NNCF_PADDING_VALUE_ATTR_NAME
from nncf.torch.nncf_network import NNCFNetwork
from torch import nn

from nncf_slb.hosts.nncf2.modules import plain_class
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.runtime import FixedActivation, FixedWeight, make_low_bit_
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.strip import codes_of, fixed_activation


def modules_by_scope(model: NNCFNetwork) -> list[tuple[str, nn.Module]]:
    """Modules of the user's model with NNCF's spelling of their scope, such as ``Net/NNCFConv2d[conv1]``.

    What a parametrization adds to a module (`torch.nn.utils.parametrize`) counts as part of that module.
    """
    modules: list[tuple[str, nn.Module]] = []

    def visit(module: nn.Module, scope: str) -> None:
        modules.append((scope, module))
        for name, child in module.named_children():
            if name not in ("_nncf", "pre_ops", "post_ops", "parametrizations"):
                visit(child, f"{scope}/{type(child).__name__}[{name}]")

    visit(model, type(model).__name__)
    return modules


def own_nodes(model: NNCFNetwork) -> dict[str, list[str]]:
    """Node names by the scope of the module that runs the operation itself, not through a module inside it."""
    nodes: dict[str, list[str]] = {}
    for node in model.nncf.get_original_graph().get_all_nodes():
        nodes.setdefault(node.node_name.rpartition("/")[0], []).append(node.node_name)
    return nodes


def run_as_traced(model: NNCFNetwork) -> None:
    """Run the network as NNCF did to see its graph, with ``dummy_forward_fn`` or tensors from ``input_info``."""
    model.nncf._get_dummy_forward_fn_for_graph_building(with_input_tracing=False, with_output_tracing=False)(model)


def weighted_nodes(model: NNCFNetwork) -> list[NNCFNode]:
    """Nodes of layers with weights, in graph order."""
    return sorted(model.nncf.get_weighted_original_graph_nodes(), key=lambda node: int(node.node_id))


def searchable_operands(model: NNCFNetwork) -> dict[str, SearchableWeight]:
    """Inserted `SearchableWeight`s by NNCF node name, in graph order; a shared one appears under each of its layers."""
    operands: dict[str, SearchableWeight] = {}
    seen: set[int] = set()
    for node in weighted_nodes(model):
        layer = model.nncf.get_containing_module(node.node_name)
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        operand = searchable_of(layer)
        if operand is not None:
            operands[node.node_name] = operand
    return operands


def searchable_of(layer: nn.Module) -> SearchableWeight | None:
    """The `SearchableWeight` inserted into a layer; None where there is none."""
    weight = weight_of(layer)
    return weight if isinstance(weight, SearchableWeight) else None


def weight_of(layer: nn.Module) -> SearchableWeight | FixedWeight | None:
    """The weight inserted into a layer, searched or fixed; None where there is none."""
    return next((op for op in _operands(layer) if isinstance(op, SearchableWeight | FixedWeight)), None)


def _quantizer_of(layer: nn.Module) -> ActivationQuantizer | None:
    return next((op for op in _operands(layer) if isinstance(op, ActivationQuantizer)), None)


def _operands(layer: nn.Module) -> list[nn.Module]:
    return [operation.op for operation in getattr(layer, "pre_ops", {}).values()]


def to_plain_torch(model: NNCFNetwork) -> nn.Module:
    """Turn an NNCF network in place into the user's own class with torch layers and low-bit layers.

    Raises:
        RuntimeError: If another algorithm has put operations of its own into the network, or a quantizer of inputs
            has seen no data.
    """
    fixed: dict[ActivationQuantizer, FixedActivation] = {}
    # All codes first: a weight that layers share loses its latents with the first of them.
    inserted = {module: weight_of(module) for module in model.modules()}
    codes = {module: codes_of(weight) for module, weight in inserted.items() if weight is not None}
    for module in list(model.modules()):
        plain = plain_class(module)
        if plain is None:
            continue
        quantizer = _quantizer_of(module)
        slb_operations = (module in codes) + (quantizer is not None)
        if len(module.pre_ops) > slb_operations or len(module.post_ops):
            raise RuntimeError(
                "the network holds operations of another algorithm; strip it through the composite controller"
            )
        del module.pre_ops, module.post_ops
        module._buffers.pop(NNCF_PADDING_VALUE_ATTR_NAME, None)
        module.__class__ = plain
        if module in codes:
            activation = None
            if quantizer is not None:
                activation = fixed.setdefault(quantizer, fixed_activation(quantizer))
            make_low_bit_(module, codes[module], activation)
    original_class = model.nncf._original_class
    del model._nncf
    plain_model: nn.Module = model
    plain_model.__class__ = original_class
    return plain_model
