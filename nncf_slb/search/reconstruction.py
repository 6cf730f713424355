"""Search without labels: a trained network is the target, and its inputs are all the data.

The searched copy is trained to give the float network's outputs, and to keep the outputs of each searched layer, while
the temperature falls as in a training with labels. Loss: KL divergence of classes, or relative squared error
(`nncf_slb.search.outputs`), plus the mean over the searched layers of the error at their outputs, each relative to its
own square. Recipe and figures: docs/post-training.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nncf_slb.errors import SLBError
from nncf_slb.search.activations import ActivationQuantizer
from nncf_slb.search.eight_bits import EIGHT_BITS
from nncf_slb.search.finite import NotFiniteError, refuse_not_finite
from nncf_slb.search.hooks import hooked
from nncf_slb.search.matched_batchnorm import matched_batch_norm
from nncf_slb.search.outputs import distance_of_means, floating_outputs, relative_distance
from nncf_slb.search.phases import Phase
from nncf_slb.search.products import squared_distance, sum_of_products
from nncf_slb.search.rates import trained_groups, within_outputs
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.state import SearchState
from nncf_slb.search.temperature import TemperatureCurve

RunBatch = Callable[[nn.Module, Any], Any]


@dataclass(frozen=True)
class Recipe:
    """How a reconstruction trains, with Adam; all rates fall to 0 on a line.

    Attributes:
        steps: Optimizer steps.
        batch_size: Samples of a step at most, as `nncf_slb.search.batches.size_within_memory` has it.
        latent_rate: Rate of the latents, as a share of the mean distance between neighbouring values of each layer, and
            divided by the root of the number of these distances: the more values, the nearer the best one is.
        scale_rate: Rate of the scales, as a share of each layer's mean scale.
        other_rate: Rate of affine numbers of norms, biases and logarithms of steps of activations; of biases at most a
            hundredth of their layer's outputs.
        layer_share: Weight of the mean error of the layers beside the outputs' own.
        temperature: That divides logits on both sides (Hinton et al., 2015).
        inverse_temperature_end: ``1 / tau`` at its end; it begins at 1.
        is_block: Whether the outputs are those of a block within a network: ``[samples, classes]`` are no logits then.
        counts_means: Whether means over positions of a block's outputs count too
            (`nncf_slb.search.outputs.distance_of_means`).
        end: Share of the steps until then; nearest values, straight through, from there on.
        gradient: Of the latents until then, as in `SearchState`.
    """

    steps: int = 1000
    batch_size: int = 100
    latent_rate: float = 0.06
    scale_rate: float = 0.005
    other_rate: float = 0.001
    layer_share: float = 1.0
    temperature: float = 2.0
    is_block: bool = False
    counts_means: bool = False
    inverse_temperature_end: float = 50.0
    end: float = 0.85
    gradient: Literal["straight", "softmax"] = "softmax"


@dataclass(frozen=True)
class Progress:
    """After a step.

    Attributes:
        step: Steps done.
        steps: Steps to do in all.
        output_loss: Distance of the outputs.
        layer_loss: Mean distance at the layers.
    """

    step: int
    steps: int
    output_loss: float
    layer_loss: float


class UntrainableError(SLBError, RuntimeError):
    """A network that runs but cannot be trained; the message says what to change."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"model: the search cannot train it ({reason}). Its pass must be differentiable: no torch.no_grad within, "
            "torch.utils.checkpoint with use_reentrant=False, no changes in place of what a layer has read, and for "
            "batch norm two samples or more in a batch"
        )


class Reconstruction:
    """The training, step by step.

    Args:
        searched: Copy of `target` into which a search has been put.
        target: Float network in eval mode on the same device; stays as it is.
        search: State of the search.
        observed: Paths of the modules whose outputs are kept, the same in both networks.
        run: Runs a network on a batch.
        recipe: How.

    Attributes:
        step: Steps done.
    """

    def __init__(
        self,
        searched: nn.Module,
        target: nn.Module,
        search: SearchState,
        observed: list[str],
        run: RunBatch,
        recipe: Recipe,
    ) -> None:
        self._searched, self._target, self._search = searched, target, search
        self._observed, self._run, self._recipe = list(dict.fromkeys(observed)), run, recipe
        self._curve = TemperatureCurve(
            "exponential", 1.0, recipe.inverse_temperature_end, 0.0, recipe.steps * recipe.end
        )
        groups = list(trained_groups(searched, search, recipe))
        self._rates = [group["lr"] for group in groups]
        self._optimizer = torch.optim.Adam(groups)
        self.step = 0

    @property
    def is_done(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self._recipe.steps

    def advance(self, batch: Any) -> Progress:
        """Take one step.

        Raises:
            nncf_slb.search.finite.NotFiniteError: If the loss is not finite; nothing is changed then.
            UntrainableError: If the network runs in evaluation only, or gives no gradient.
        """
        recipe = self._recipe
        if not self.step:
            self._rates = within_outputs(
                self._optimizer.param_groups, self._rates, self._target, lambda: self._run(self._target, batch)
            )
        _train_mode(self._searched)
        self._search.phase = Phase(self._curve(self.step), self._curve.has_ended(self.step))
        self._search.gradient = recipe.gradient
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * (1 - self.step / recipe.steps)
        with matched_batch_norm(self._searched, self._target), torch.enable_grad():
            of_outputs, of_layers = self._distances(batch)
            loss = of_outputs + recipe.layer_share * of_layers
            if not bool(loss.isfinite()):
                raise NotFiniteError(
                    f"the distance to the float network is {float(loss)} at step {self.step} of the search. Look for "
                    "images far outside the range that the network was trained on, and for very large weights"
                )
            self._optimizer.zero_grad(set_to_none=True)
            self._backward(loss)
        self._optimizer.step()
        self.step += 1
        return Progress(self.step, recipe.steps, float(of_outputs.detach()), float(of_layers.detach()))

    def _distances(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Distance of the outputs, and mean distance at the layers.

        Raises:
            UntrainableError: If the network runs in evaluation only.
        """
        recipe = self._recipe
        with _outputs_of(self._target, self._observed) as wanted, torch.no_grad():
            expected = floating_outputs(self._run(self._target, batch))
        with _outputs_of(self._searched, self._observed) as given, _without_gradients_of_inputs(self._searched):
            try:
                outputs = floating_outputs(self._run(self._searched, batch))
            except Exception as error:  # whatever the user's network raises
                raise UntrainableError(f"{type(error).__name__}: {error}") from error
        pairs = zip(expected, outputs, strict=True)
        if recipe.is_block:
            each = [_relative(a, b) + (distance_of_means(a, b) if recipe.counts_means else 0.0) for a, b in pairs]
        else:
            each = [relative_distance(a, b, recipe.temperature) * recipe.temperature**2 for a, b in pairs]
        of_outputs = torch.stack(each).sum()
        both = [name for name in self._observed if name in wanted and name in given]  # of a branch not taken: none
        distances = [_relative(wanted[name], given[name]) for name in both]
        return of_outputs, torch.stack(distances).mean() if distances else torch.zeros_like(of_outputs)

    def _backward(self, loss: Tensor) -> None:
        """Gradients of a step.

        Raises:
            UntrainableError: If there is no way to any searched weight.
        """
        if not loss.requires_grad:
            raise UntrainableError("no gradient reaches the outputs")
        try:
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:  # what the network does in its pass
            raise UntrainableError(str(error).splitlines()[0]) from error
        latents = [weight.searched for weight in self._search.weights]
        if not self.step and latents and all(latent.grad is None for latent in latents):
            raise UntrainableError("no gradient reaches the weights")

    def end(self) -> None:
        """Make the network discrete and ready for evaluation, after all steps or before."""
        self._optimizer.zero_grad(set_to_none=True)
        self._search.phase = Phase(self._recipe.inverse_temperature_end, True)
        self._search.gradient = "straight"
        self._searched.eval()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on with the same bits."""
        return {
            "step": self.step, "network": self._searched.state_dict(), "optimizer": self._optimizer.state_dict(),
            "rates": self._rates,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one was.

        Raises:
            ValueError: If the state is not one of this training, or holds numbers that are not finite.
        """
        step, kept, rates = state["step"], state["optimizer"]["state"], state["rates"]
        if type(step) is not int or not 0 <= step <= self._recipe.steps:
            raise ValueError(f"step {step!r} of {self._recipe.steps}")
        if len(rates) != len(self._rates) or not all(type(rate) is float and math.isfinite(rate) for rate in rates):
            raise ValueError(f"rates {rates!r}")
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        for index, entries in kept.items():
            for entry in (entries["exp_avg"], entries["exp_avg_sq"]):
                if entry.shape != parameters[index].shape or not bool(entry.isfinite().all()):
                    raise ValueError(f"means of the gradients of parameter {index}")
        self._searched.load_state_dict(state["network"])
        refuse_not_finite(self._searched)
        self._optimizer.load_state_dict(state["optimizer"])
        self._rates = rates
        self.step = step


def _train_mode(model: nn.Module) -> None:
    """Training mode for what is searched and normalized; dropout stays off, since the target has none."""
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm | SearchableWeight | ActivationQuantizer):
            module.train()


@contextmanager
def _outputs_of(model: nn.Module, paths: list[str]) -> Iterator[dict[str, Tensor]]:
    """Outputs of modules by path, for a pass within."""
    found: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):  # a layer of the user's may give anything
                found[path] = output

        return hook

    with hooked(model.get_submodule(path).register_forward_hook(keep(path)) for path in paths):
        yield found


@contextmanager
def _without_gradients_of_inputs(model: nn.Module) -> Iterator[None]:
    """For a pass within: 8-bit steps of the network's own inputs, or of a block's, widen until they clip nothing.

    To train them would take the gradient of the inputs, which nothing else needs. In a network with a large first
    kernel and few input channels (CREPE: 512 x 1, one channel) that was three quarters of the step's time.
    """

    def hook(quantizer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(quantizer, ActivationQuantizer)
        quantizer.requires_grad_(inputs[0].requires_grad)
        if not inputs[0].requires_grad:
            quantizer.widen(inputs[0].detach())

    found = [m for m in model.modules() if isinstance(m, ActivationQuantizer) and m.bits == EIGHT_BITS]
    with hooked(quantizer.register_forward_pre_hook(hook) for quantizer in found):
        yield


def _relative(wanted: Tensor, given: Tensor) -> Tensor:
    return squared_distance(given, wanted) / sum_of_products(wanted, wanted).clamp_min(1e-12)
