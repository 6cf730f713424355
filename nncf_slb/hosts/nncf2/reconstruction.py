"""Search without labels while NNCF creates the compressed network, with the registered data loader."""

from __future__ import annotations

from nncf.torch.nncf_network import NNCFNetwork

from nncf_slb.config.training import ReconstructionConfig
from nncf_slb.hosts.dataflow import observe
from nncf_slb.hosts.nncf2.insertion import Insertions
from nncf_slb.hosts.nncf2.network import run_as_traced
from nncf_slb.hosts.nncf2.planning import SearchPlan
from nncf_slb.hosts.reconstruction import reconstruct
from nncf_slb.search.batches import Batches


def reconstruct_network(
    model: NNCFNetwork,
    target: NNCFNetwork,
    plan: SearchPlan,
    insertions: Insertions,
    batches: Batches,
    settings: ReconstructionConfig,
) -> None:
    """`nncf_slb.hosts.reconstruction.reconstruct` for the layers of a plan."""
    flow = observe(target.eval(), lambda: run_as_traced(target))
    paths = {id(module): path for path, module in model.named_modules()}
    observed = {layer.path: layer.observed for layer in flow.layers}
    layers = [observed[paths[id(layer)]] for layer in plan.layers.values()]
    fixed = {paths[id(plan.edges[name])]: weight for name, weight in insertions.fixed.items()}
    insertions.search.watch(model)
    try:
        reconstruct(model, target, layers, fixed, insertions.search, batches, settings)
    finally:
        insertions.search.unwatch(model)
