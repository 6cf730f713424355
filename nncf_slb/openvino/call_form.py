"""How a network is called: which of its arguments are tensors, in any nesting, and what it returns, flattened.

OpenVINO's converter wants tensors by position and a tensor or a tuple of them. A network may take keywords, lists and
dictionaries, and return them; hooks on the network translate while it is traced.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class CallForm:
    """Arguments of a call with a number in the place of each tensor.

    Attributes:
        form: ``{"tensor": k}``, ``{"list": [...]}``, ``{"tuple": [...]}``, ``{"dict": {...}}`` or ``{"value": v}``, in
            any nesting; the outermost is ``{"tuple": [args, kwargs]}``.
        names: A name for each tensor: the argument's, with keys and indices behind dots where it is nested.
    """

    form: dict[str, Any]
    names: tuple[str, ...]

    @property
    def is_plain(self) -> bool:
        """Whether all arguments are tensors by position, which the converter takes as they are."""
        args, kwargs = self.form["tuple"]
        return not kwargs["dict"] and all("tensor" in argument for argument in args["tuple"])

    def arguments(self, tensors: Sequence[Any]) -> Arguments:
        """Positional and keyword arguments with these tensors in their places."""
        args, kwargs = _build(self.form, tensors)
        return args, kwargs

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {"form": self.form, "names": list(self.names)}

    @staticmethod
    def from_json(stored: Any) -> CallForm:
        """What `to_json` gave.

        Raises:
            ValueError: If it is something else.
        """
        try:
            form = CallForm(stored["form"], tuple(stored["names"]))
            args, kwargs = form.form["tuple"]
            _build(form.form, dict(enumerate(form.names)))
        except (TypeError, LookupError, AttributeError) as error:
            raise ValueError("not the form of a call") from error
        if not ("tuple" in args and "dict" in kwargs and all(isinstance(name, str) for name in form.names)):
            raise ValueError("not the form of a call")
        return form


def arguments_of(example_input: Any) -> Arguments:
    """Positional and keyword arguments from an example input in one of the forms that `export_openvino` takes."""
    if isinstance(example_input, Mapping):
        return (), dict(example_input)
    if not isinstance(example_input, tuple | list):
        return (example_input,), {}
    if example_input and isinstance(example_input[-1], Mapping):
        return tuple(example_input[:-1]), dict(example_input[-1])
    return tuple(example_input), {}


def call_form(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[CallForm, list[Tensor]]:
    """Form of a call and its tensors, in order.

    Raises:
        TypeError: If an argument is neither a tensor, a number, a text, None nor a list, tuple or dictionary of these.
    """
    tensors: list[Tensor] = []
    names: list[str] = []

    def visit(value: Any, name: str) -> dict[str, Any]:
        if isinstance(value, Tensor):
            tensors.append(value)
            names.append(name)
            return {"tensor": len(tensors) - 1}
        if isinstance(value, Mapping):
            return {"dict": {str(key): visit(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()}}
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [visit(item, f"{name}.{index}") for index, item in enumerate(value)]}
        if value is None or isinstance(value, bool | int | float | str):
            return {"value": value}
        raise TypeError(f"argument {name}: received {type(value).__name__}")

    parameters = _parameter_names(module, len(args))
    positional = {"tuple": [visit(argument, name) for argument, name in zip(args, parameters, strict=True)]}
    form = {"tuple": [positional, visit(dict(kwargs), "")]}
    return CallForm(form, tuple(names)), tensors


def _parameter_names(module: nn.Module, count: int) -> list[str]:
    try:
        known = [
            name
            for name, p in inspect.signature(module.forward).parameters.items()
            if p.kind <= p.POSITIONAL_OR_KEYWORD
        ]
    except (TypeError, ValueError):
        known = []
    return [*known[:count], *(f"input_{index}" for index in range(len(known), count))]


def _build(form: Mapping[str, Any], tensors: Sequence[Any] | Mapping[int, Any]) -> Any:
    ((kind, content),) = form.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "value":
        return content
    if kind == "dict":
        return {key: _build(part, tensors) for key, part in content.items()}
    built = [_build(part, tensors) for part in content]
    return built if kind == "list" else tuple(built)


def flat_outputs(result: Any) -> OrderedDict[str, Tensor]:
    """Tensors of a network's result in any nesting, in order, by their keys and indices with dots between them.

    What is no tensor (None, a number, an object of the network's own) is left out, as a file has no place for it.
    """
    tensors: OrderedDict[str, Tensor] = OrderedDict()

    def visit(value: Any, name: str) -> None:
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, Mapping):
            for key, item in value.items():
                visit(item, f"{name}.{key}".lstrip("."))
        elif isinstance(value, list | tuple):
            fields = getattr(value, "_fields", None) or range(len(value))
            for key, item in zip(fields, value, strict=True):
                visit(item, f"{name}.{key}".lstrip("."))

    visit(result, "")
    return tensors


@contextmanager
def flat_call(module: nn.Module, form: CallForm) -> Iterator[None]:
    """Within it, the module takes the form's tensors by position and gives a tensor or a tuple of them."""

    def restore(_: nn.Module, tensors: tuple[Any, ...], __: dict[str, Any]) -> Arguments:
        return form.arguments(tensors)

    def flatten(_: nn.Module, __: Any, result: Any) -> Any:
        outputs = tuple(flat_outputs(result).values())
        return outputs[0] if len(outputs) == 1 else outputs

    handles: list[Any] = []
    if not form.is_plain:
        handles.append(module.register_forward_pre_hook(restore, with_kwargs=True))
    handles.append(module.register_forward_hook(flatten))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Captured(Exception):
    """Carries the arguments out of a call that need not run."""


def captured_arguments(module: nn.Module, run: Callable[[], object]) -> Arguments:
    """Arguments of the first call of a module in `run`, which ends there: the module itself does not run.

    Raises:
        RuntimeError: If `run` does not call the module.
    """

    def capture(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Captured(args, kwargs)

    handle = module.register_forward_pre_hook(capture, with_kwargs=True, prepend=True)
    try:
        run()
    except _Captured as captured:
        args, kwargs = captured.args
        return args, kwargs
    finally:
        handle.remove()
    raise RuntimeError("dummy_forward_fn does not call the network")
