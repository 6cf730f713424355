"""Functions for the user's training loop; each takes the controller of `slb` or a composite that holds one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nncf.api.compression import CompressionStage
from nncf.common.quantization.structs import QuantizationScheme
from nncf.torch.initialization import wrap_dataloader_for_init
from torch import nn

from nncf_slb.bits.sensitivity import Sensitivities, measure
from nncf_slb.config.budget import default_candidates
from nncf_slb.hosts.nncf2.controller import child_controller
from nncf_slb.search.discrete_batchnorm import batch_runner, batches_of
from nncf_slb.search.searchable import SEARCHABLE_LAYERS, SearchableWeight
from nncf_slb.search.values import ValueSet, make_values

# Classes besides plain Python types in the compression state of slb and of NNCF's quantization (found by
# torch.serialization.get_unsafe_globals_in_checkpoint): pass them to torch.serialization.safe_globals to load a
# checkpoint with weights_only=True.
CHECKPOINT_TYPES = (CompressionStage, QuantizationScheme)


def logits_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What moves the logits of all searched weights that are being trained, each once, in the order of the modules.

    Shifts with mirror descent, the logits themselves with gradient descent (`params.descent`).
    """
    found = (m.searched for m in model.modules() if isinstance(m, SearchableWeight))
    return list(dict.fromkeys(p for p in found if p.requires_grad))


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as (logits, all others), for separate optimizers or parameter groups.

    With mirror descent the learning rates of a float network suit both (measured: Adam at 0.01 on Fashion-MNIST), but
    weight decay would pull the first ones back to where the search began. With gradient descent logits want a rate of
    their own, and no weight decay (measured: Adam at 0.02, beside 0.01 for the rest).
    """
    logits = logits_parameters(model)
    chosen = {id(p) for p in logits}
    return logits, [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]


def measure_sensitivity(
    model: nn.Module,
    loader: Any,
    *,
    values: str = "uniform",
    candidates: Sequence[int] | None = None,
    samples: int = 512,
) -> Sensitivities:
    """Measure how far a float network's outputs move when one layer's weights are rounded, as ``"bits": "auto"`` does.

    Args:
        model: Trained float network, before `create_compressed_model`; left as it was.
        loader: Data loader of (inputs, labels), of which only the inputs are used, or a `PTInitializingDataLoader` of
            NNCF.
        values: Name of a set of values, as in the config.
        candidates: Bits to try; by default all that the values can have: 1 to 4, but 2 to 4 for ``zero_centered`` and 2
            for ``ternary``.
        samples: Samples to measure with, rounded up to whole batches.

    Returns:
        For each convolution and Linear layer by its path in the model, sensitivity by bits: the mean KL divergence of
        the predicted classes in nats for outputs ``[samples, classes]``, else the relative squared error (see
        `nncf_slb.bits.sensitivity`). Layers that share a parameter appear once, under the first one's name.

    Raises:
        TypeError: If the model's weights are already being searched.
        ValueError: On an unknown name of values, or bits that they cannot have.
        nncf_slb.bits.sensitivity.SensitivityError: If nothing can be measured with this network and loader.

    Example:
        >>> measure_sensitivity(resnet, train_loader)["layer1.0.conv1"]  # doctest: +SKIP
        {1: 0.081, 2: 0.012, 3: 0.0021, 4: 0.0005}
    """
    if any(isinstance(module, SearchableWeight) for module in model.modules()):
        raise TypeError("model: its weights are already being searched; allowed is a float network. Pass it before "
                        "create_compressed_model, or read ctrl.statistics().slb.sensitivities")  # fmt: skip
    layers: dict[int, tuple[str, nn.Module]] = {}
    for name, module in model.named_modules():
        if isinstance(module, SEARCHABLE_LAYERS) and "weight" in module._parameters:
            layers.setdefault(id(module.weight), (name, module))
    sets = _value_sets(values, default_candidates(values) if candidates is None else candidates)
    wrapped = wrap_dataloader_for_init(loader)
    runner = batch_runner(model, wrapped, next(model.parameters()).device)
    batches = batches_of(wrapped, samples)
    modules = dict(layers.values())
    return measure(model, modules, dict.fromkeys(modules, sets), runner, batches)


def _value_sets(values: str, candidates: Sequence[int]) -> list[ValueSet]:
    allowed = default_candidates(values)
    if not candidates or not set(candidates) <= set(allowed):
        raise ValueError(
            f"candidates: received {list(candidates)}; allowed with {values} values: some of {list(allowed)}. Leave "
            "candidates out to try all of these, or choose other values"
        )
    return [make_values(values, bits) for bits in candidates]


@contextmanager
def searched_network(ctrl: Any) -> Iterator[nn.Module]:
    """Context in which the model's eval mode runs the expected (continuous) weights.

    Raises:
        TypeError: If `ctrl` neither is nor holds a controller of `slb`.
    """
    with child_controller(ctrl).searched_network() as model:
        yield model
