"""Which functions use a network's parameters, and in which module: seen in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from nncf_slb.search.batchnorm import preserved_modes

# Functions that read no number of a tensor, but its type, its device or its shape.
_READ_NO_NUMBER = {"to", "type_as", "expand_as", "view_as", "reshape_as"}
_MAKE_ANOTHER = ("new_", "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like")
_PRODUCTS = {
    "linear", "bilinear", "matmul", "mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "einsum", "tensordot",
    "multi_head_attention_forward", "_native_multi_head_attention", "_transformer_encoder_layer_fwd", "lstm", "gru",
    "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "__matmul__", "__rmatmul__",
}  # fmt: skip
_ELEMENTWISE = {
    "add", "sub", "mul", "div", "__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__",
    "__rtruediv__", "__iadd__", "__imul__", "embedding", "embedding_bag", "rms_norm", "layer_norm", "prelu",
}  # fmt: skip


class Use(NamedTuple):
    """One call that gets a parameter: name of the function, and the innermost module that runs it."""

    function: str
    module: nn.Module | None

    @property
    def is_product(self) -> bool:
        """Whether the function is a convolution or a matrix product."""
        return self.function in _PRODUCTS or self.function.startswith("conv")

    @property
    def is_elementwise(self) -> bool:
        """Whether the function uses each number for itself: what follows is no matrix product with the parameter."""
        return self.function in _ELEMENTWISE


class _Watch(TorchFunctionMode):
    def __init__(self, parameters: set[int], stack: list[nn.Module]) -> None:
        super().__init__()
        self._parameters = parameters
        self._stack = stack
        self.uses: dict[int, list[Use]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", str(func))
        if not name.startswith(_MAKE_ANOTHER) and any(isinstance(x, Tensor) for x in tree_leaves(result)):
            leaves = tree_leaves((args[:1] if name in _READ_NO_NUMBER else args, kwargs))
            for tensor in leaves:
                if id(tensor) in self._parameters:
                    module = self._stack[-1] if self._stack else None
                    self.uses.setdefault(id(tensor), []).append(Use(name, module))
        return result


@contextmanager
def _module_stack(model: nn.Module) -> Iterator[list[nn.Module]]:
    stack: list[nn.Module] = []

    def leave(*_: Any) -> None:
        stack.pop()

    handles: list[Any] = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(lambda m, _: stack.append(m)))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def uses_of_parameters(model: nn.Module, run: Callable[[], object]) -> dict[int, list[Use]]:
    """Calls that get a parameter of the model while `run` runs it in evaluation mode, by the parameter's ``id``.

    Args:
        model: Any module; its modes and the random state stay as they are.
        run: Runs the model once.
    """
    with preserved_modes(model), _module_stack(model) as stack:
        model.eval()
        watch = _Watch({id(p) for p in model.parameters()}, stack)
        with watch:
            run()
    return watch.uses
