"""Which layers a network runs, in which order, and what lies between them: seen in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from nncf_slb.hosts.weight_uses import Use
from nncf_slb.search.batchnorm import preserved_modes
from nncf_slb.search.channels import SEARCHABLE_LAYERS

_INPUT = 1  # mark of what depends on an input of the network; those of weights are the powers of two above it
_MATRIX = 2
_TABLES = ("embedding", "embedding_bag")
# Functions that take weights with output channels first: as their second argument, or among several.
_WITH_WEIGHT = ("linear", "conv1d", "conv2d", "conv3d")
_ATTENTION = ("multi_head_attention_forward", "_native_multi_head_attention")


@dataclass(frozen=True)
class RunLayer:
    """A convolution or Linear layer that a network runs, or a parameter that a function uses as the weight of one.

    Attributes:
        path: Its path in the network; of a parameter, that of its module and its name.
        module: The layer, or the module that holds the parameter.
        is_first: Whether an input of the network reaches it and has met no other weights.
        is_last: Whether an output of the network depends on it, and no other weights do.
        source: The same number for all layers that read the same tensor.
        observed: Path of the module whose output stands for the layer's: itself, or the batch norm that reads it; of a
            parameter, empty.
        parameter: Name of the weight in `module`.
        function: The function that uses the parameter; None for a layer.
    """

    path: str
    module: nn.Module
    is_first: bool
    is_last: bool
    source: int
    observed: str
    parameter: str = "weight"
    function: str | None = None

    @property
    def weight(self) -> nn.Parameter:
        """The weight itself."""
        weight: nn.Parameter = getattr(self.module, self.parameter)
        return weight


@dataclass(frozen=True)
class Dataflow:
    """What one pass has shown.

    Attributes:
        layers: Layers in the order in which they ran, each once.
        parameters: Parameters that functions use as weights, likewise.
        activation_bytes: Bytes of all outputs of innermost modules.
    """

    layers: tuple[RunLayer, ...]
    parameters: tuple[RunLayer, ...]
    activation_bytes: int


@torch.no_grad()
def observe(model: nn.Module, run: Callable[[], object]) -> Dataflow:
    """Watch one pass in evaluation mode.

    Args:
        model: Any network; its modes and the random state stay as they are.
        run: Runs it once on a small batch: what lies between the layers is kept meanwhile.
    """
    with preserved_modes(model):
        model.eval()
        flow = _Flow({id(p) for p in model.parameters() if p.dim() >= _MATRIX})
        with _hooks(model, flow), flow:
            run()
    paths = {id(module): path for path, module in reversed(list(model.named_modules()))}
    parameters = {id(parameter): path for path, parameter in reversed(list(model.named_parameters()))}

    def run_layer(user: nn.Module | int) -> RunLayer:
        bit = flow.bits[user]
        is_first, is_last = flow.before[user] == _INPUT, bool(flow.of_outputs & bit) and not flow.used & bit
        if isinstance(user, nn.Module):
            observed = paths[id(flow.norms.get(user, user))]
            return RunLayer(paths[id(user)], user, is_first, is_last, flow.sources[user], observed)
        owner, _, name = parameters[user].rpartition(".")
        module = model.get_submodule(owner)
        return RunLayer(parameters[user], module, is_first, is_last, -1, "", name, flow.functions[user])

    layers = tuple(run_layer(user) for user in flow.before if isinstance(user, nn.Module))
    of_functions = tuple(run_layer(user) for user in flow.before if user in flow.functions)
    return Dataflow(layers, of_functions, flow.bytes)


def without_observation(model: nn.Module) -> Dataflow:
    """What is known of a network that no pass has shown: its layers, each with an input of its own."""
    layers = [(path, module) for path, module in model.named_modules() if isinstance(module, SEARCHABLE_LAYERS)]
    return Dataflow(tuple(RunLayer(path, m, False, False, k, path) for k, (path, m) in enumerate(layers)), (), 0)


class _Flow(TorchFunctionMode):
    """Marks each tensor with the weights that it depends on."""

    def __init__(self, matrices: set[int]) -> None:
        super().__init__()
        self._matrices = matrices
        self._marks: Any = WeakTensorKeyDictionary()
        self._readers: Any = WeakTensorKeyDictionary()
        self._makers: Any = WeakTensorKeyDictionary()
        self._next = _INPUT
        self._inside: list[int] = []  # of the layers that are running, what their inputs depend on
        # By layer, or by the id of a parameter that is used without one.
        self.before: dict[nn.Module | int, int] = {}
        self.bits: dict[nn.Module | int, int] = {}
        self.functions: dict[nn.Module | int, str] = {}
        self.sources: dict[nn.Module, int] = {}
        self.norms: dict[nn.Module, nn.Module] = {}
        self.used = self.of_outputs = self.bytes = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = list(_tensors((args, kwargs)))
        mark = self._of(tensors)
        if not self._inside:
            name = getattr(func, "__name__", str(func))
            if Use(name, None).is_product or name in _TABLES:
                mark = self._through_matrices(tensors, mark)
                self._note_weights(name, args, kwargs or {})
        self._put(result, mark)
        return result

    def _through_matrices(self, tensors: list[Tensor], mark: int) -> int:
        """A product of the network's own, outside the layers."""
        before = mark
        for tensor in tensors:
            key = id(tensor)
            if key in self._matrices:
                self.used |= before
                if key not in self.before:
                    self.before[key], self.bits[key] = before, self._new_bit()
                mark |= self.bits[key]
        return mark

    def _note_weights(self, function: str, args: Any, kwargs: Any) -> None:
        """Remember which parameters a function uses as weights with output channels first."""
        if function in _ATTENTION:
            weights = [tensor for tensor in _tensors((args, kwargs)) if tensor.dim() == _MATRIX]
        elif function in _WITH_WEIGHT:
            weights = list(_tensors(args[1:2] or kwargs.get("weight")))
        else:
            return
        for weight in weights:
            if id(weight) in self._matrices:
                self.functions.setdefault(id(weight), function)

    def _new_bit(self) -> int:
        self._next *= 2
        return self._next

    def _of(self, tensors: Iterable[Tensor]) -> int:
        mark = 0
        for tensor in tensors:
            mark |= self._marks.get(tensor, 0)
        return mark

    def _put(self, result: Any, mark: int) -> None:
        if mark:
            for tensor in _tensors(result):
                self._marks[tensor] = mark

    def begin_network(self, _: nn.Module, args: Any, kwargs: Any) -> None:
        for tensor in _tensors((args, kwargs)):
            self._marks[tensor] = self._of([tensor]) | _INPUT

    def end_network(self, _: nn.Module, args: Any, output: Any) -> None:
        self.of_outputs |= self._of(_tensors(output))

    def begin_layer(self, layer: nn.Module, args: Any, kwargs: Any) -> None:
        tensors = list(_tensors((args, kwargs)))
        mark = self._of(tensors)
        self.used |= mark
        self._inside.append(mark)
        if layer not in self.before:
            self.before[layer] = mark
            self.bits[layer] = self._new_bit()
            self.sources[layer] = self._source(tensors[0]) if tensors else -len(self.sources) - 1

    def end_layer(self, layer: nn.Module, _: Any, output: Any) -> None:
        mark = self._inside.pop() | self.bits[layer]
        for tensor in _tensors(output):
            self._marks[tensor] = mark
            self._makers[tensor] = layer

    def begin_norm(self, norm: nn.Module, args: Any) -> None:
        for tensor in _tensors(args):
            layer = self._makers.get(tensor)
            if layer is not None:
                self.norms[layer] = norm

    def count(self, module: nn.Module, args: Any, output: Any) -> None:
        self.bytes += sum(tensor.nbytes for tensor in _tensors(output))

    def _source(self, tensor: Tensor) -> int:
        """Number of a tensor as it is now: an operation in place makes another one of it."""
        versions = self._readers.setdefault(tensor, {})
        return int(versions.setdefault(tensor._version, len(self.sources)))


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (x for x in tree_leaves(tree) if isinstance(x, Tensor))


def _is_innermost(module: nn.Module) -> bool:
    """Whether a module holds none that runs; NNCF 2.19's layers hold empty containers."""
    return all(isinstance(child, nn.ModuleDict) and not child for child in module.children())


@contextmanager
def _hooks(model: nn.Module, flow: _Flow) -> Iterator[None]:
    handles = [model.register_forward_pre_hook(flow.begin_network, with_kwargs=True)]
    for module in model.modules():
        if isinstance(module, SEARCHABLE_LAYERS):
            handles.append(module.register_forward_pre_hook(flow.begin_layer, with_kwargs=True))
            handles.append(module.register_forward_hook(flow.end_layer))
        elif isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(flow.begin_norm))
        if _is_innermost(module):
            handles.append(module.register_forward_hook(flow.count))
    handles.append(model.register_forward_hook(flow.end_network))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
