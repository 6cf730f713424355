"""What a sample's run says of itself, for its report."""

from __future__ import annotations

from typing import Any

from nncf_slb.hosts.resuming import plain_path
from nncf_slb.reports.facts import RunFacts, Score, layer_plans, machine
from nncf_slb.search.statistics import SearchStatistics


def run_facts(config: dict[str, Any], score: Score, device: str, ctrl: Any) -> RunFacts:
    """Facts of a run.

    Args:
        config: Its config.
        score: What its score is.
        device: Torch device that trains.
        ctrl: Controller of its network; None of a float one.
    """
    facts = RunFacts(
        network=config["model"], data=config["dataset"], score=score, length=config["epochs"], config=config,
        machine=machine(device),
    )  # fmt: skip
    search = getattr(ctrl.statistics(), "slb", None) if ctrl else None
    return facts if search is None else facts.model_copy(update=_of_search(search, config))


def _of_search(search: SearchStatistics, config: dict[str, Any]) -> dict[str, Any]:
    reasons = {plain_path(name): reason for name, reason in search.left_out.items()}
    kept = {plain_path(name): "left out by a scope of the config" for name in search.full_precision_layers}
    return {
        "layers": layer_plans(search.layers, plain_path),
        "eight_bit_layers": [plain_path(name) for name in search.eight_bit_layers],
        "full_precision_layers": {**kept, **reasons},
        "left_out_share": search.left_out_share,
        "sensitivities": {plain_path(name): dict(found) for name, found in search.sensitivities.items()},
        "budget_bytes": _budget_bytes(config.get("compression")),
    }


def _budget_bytes(compression: Any) -> int | None:
    sections = compression if isinstance(compression, list) else [compression]
    budgets = [section.get("weights", {}).get("budget") for section in sections if section.get("algorithm") == "slb"]
    return next((int(budget["bytes"]) for budget in budgets if budget and "bytes" in budget), None)
