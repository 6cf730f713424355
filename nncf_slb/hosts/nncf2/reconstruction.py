"""Search without labels while NNCF creates the compressed network, with the registered data loader."""

from __future__ import annotations

from nncf.torch.nncf_network import NNCFNetwork

from nncf_slb.config.training import ReconstructionConfig
from nncf_slb.hosts.dataflow import observe
from nncf_slb.hosts.nncf2.network import run_as_traced
from nncf_slb.hosts.nncf2.planning import SearchPlan
from nncf_slb.hosts.reconstruction import reconstruct
from nncf_slb.search.batches import Batches
from nncf_slb.search.state import SearchState


def reconstruct_network(
    model: NNCFNetwork,
    target: NNCFNetwork,
    plan: SearchPlan,
    search: SearchState,
    batches: Batches,
    settings: ReconstructionConfig,
) -> None:
    """`nncf_slb.hosts.reconstruction.reconstruct` for the layers of a plan."""
    flow = observe(target.eval(), lambda: run_as_traced(target))
    paths = {id(module): path for path, module in model.named_modules()}
    observed = {layer.path: layer.observed for layer in flow.layers}
    search.watch(model)
    try:
        reconstruct(
            model, target, [observed[paths[id(layer)]] for layer in plan.layers.values()], search, batches, settings
        )
    finally:
        search.unwatch(model)
