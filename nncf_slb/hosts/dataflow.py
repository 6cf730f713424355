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


@dataclass(frozen=True)
class RunLayer:
    """A convolution or Linear layer that a network runs.

    Attributes:
        path: Its path in the network.
        module: The layer.
        is_first: Whether an input of the network reaches it and has met no other weights.
        is_last: Whether an output of the network depends on it, and no other weights do.
        source: The same number for all layers that read the same tensor.
        observed: Path of the module whose output stands for the layer's: itself, or the batch norm that reads it.
    """

    path: str
    module: nn.Module
    is_first: bool
    is_last: bool
    source: int
    observed: str


@dataclass(frozen=True)
class Dataflow:
    """What one pass has shown.

    Attributes:
        layers: Layers in the order in which they ran, each once.
        activation_bytes: Bytes of all outputs of innermost modules.
    """

    layers: tuple[RunLayer, ...]
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
    layers = tuple(
        RunLayer(
            paths[id(module)],
            module,
            is_first=flow.before[module] == _INPUT,
            is_last=bool(flow.of_outputs & flow.bits[module]) and not flow.used & flow.bits[module],
            source=flow.sources[module],
            observed=paths[id(flow.norms.get(module, module))],
        )
        for module in flow.before
    )
    return Dataflow(layers, flow.bytes)


class _Flow(TorchFunctionMode):
    """Marks each tensor with the weights that it depends on."""

    def __init__(self, matrices: set[int]) -> None:
        super().__init__()
        self._matrices = matrices
        self._marks: Any = WeakTensorKeyDictionary()
        self._readers: Any = WeakTensorKeyDictionary()
        self._makers: Any = WeakTensorKeyDictionary()
        self._bits_of_matrices: dict[int, int] = {}
        self._next = _INPUT
        self._inside: list[int] = []  # of the layers that are running, what their inputs depend on
        self.before: dict[nn.Module, int] = {}
        self.bits: dict[nn.Module, int] = {}
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
        self._put(result, mark)
        return result

    def _through_matrices(self, tensors: list[Tensor], mark: int) -> int:
        """A product of the network's own, outside the layers."""
        for tensor in tensors:
            if id(tensor) in self._matrices:
                self.used |= mark
                bit = self._bits_of_matrices.get(id(tensor)) or self._new_bit()
                self._bits_of_matrices[id(tensor)] = bit
                mark |= bit
        return mark

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


@contextmanager
def _hooks(model: nn.Module, flow: _Flow) -> Iterator[None]:
    handles = [model.register_forward_pre_hook(flow.begin_network, with_kwargs=True)]
    for module in model.modules():
        if isinstance(module, SEARCHABLE_LAYERS):
            handles.append(module.register_forward_pre_hook(flow.begin_layer, with_kwargs=True))
            handles.append(module.register_forward_hook(flow.end_layer))
        elif isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(flow.begin_norm))
        if not list(module.children()):
            handles.append(module.register_forward_hook(flow.count))
    handles.append(model.register_forward_hook(flow.end_network))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
