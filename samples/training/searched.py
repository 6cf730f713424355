"""What the log of a run tells of its search after each epoch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nncf_slb.hosts.resuming import plain_path
from nncf_slb.reports.recording import layer_numbers
from nncf_slb.search.searchable import searchable_weights


def codes_of(network: nn.Module) -> list[Tensor]:
    """Codes of the searched weights, uint8, in the order of the network's modules."""
    return [weight.codes() for weight in searchable_weights(network)]


def search_text(network: nn.Module, confidence: float | None, score: str) -> str:
    """How a search stands, for a line or a bar.

    Args:
        network: The network; of a float one only the score is told.
        confidence: Mean over the weights of the largest probability, when the last epoch ended; None before.
        score: Last validation score of the discrete network, as text; empty before.
    """
    weights = searchable_weights(network)
    parts = [f"val {score}"] if score else []
    parts += [f"1/tau {weights[0].search.phase.inverse_temperature:.3g}"] if weights else []
    return "  ".join(parts + ([] if confidence is None else [f"confidence {confidence:.3f}"]))


def search_numbers(ctrl: Any, codes: list[Tensor], codes_before: list[Tensor]) -> dict[str, Any]:
    """Temperature, confidence, and the share of codes that the epoch has changed, over all weights and of each layer.

    Args:
        ctrl: Controller of the network; None of a float one.
        codes: Codes of the searched weights.
        codes_before: The same at the beginning of the epoch.
    """
    search = getattr(ctrl.statistics(), "slb", None) if ctrl else None
    if search is None:
        return {}
    weights = sum(layer.weights for layer in search.layers)
    confidence = sum(layer.mean_confidence * layer.weights for layer in search.layers) / weights
    changed = sum(int((now != before).sum()) for now, before in zip(codes, codes_before, strict=True)) / weights
    histogram = [
        sum(layer.confidence_histogram[part] * layer.weights for layer in search.layers) / weights
        for part in range(len(search.layers[0].confidence_histogram))
    ]
    paths = [plain_path(layer.name) for layer in search.layers]
    return {
        "inverse_temperature": search.inverse_temperature, "confidence": confidence, "changed": changed,
        "confidence_histogram": histogram, "layers": layer_numbers(search.layers, paths),
    }  # fmt: skip
