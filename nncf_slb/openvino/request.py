"""What an export is asked for, checked before anything is converted; the same for every kind of file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nncf_slb.openvino.call_form import Arguments, CallForm, arguments_of
from nncf_slb.openvino.low_bit_model import ExportError, form_of_call
from nncf_slb.openvino.stripped_network import export_defaults, stripped_network
from nncf_slb.search.finite import refuse_not_finite
from nncf_slb.search.runtime import coded_weights


@dataclass(frozen=True)
class ExportRequest:
    """An export that can begin.

    Attributes:
        model: What the user gave: a controller or a stripped network.
        stripped: The stripped network.
        target: File to write.
        form: How the network takes its tensors.
        examples: Tensors to trace it with.
        input_names: A name for each input; None where the user gave none.
        output_names: The same for outputs.
        input_shapes: Shape of each input, -1 for any size; None where the user gave none.
    """

    model: Any
    stripped: nn.Module
    target: Path
    form: CallForm
    examples: tuple[Tensor, ...]
    input_names: list[str] | None
    output_names: list[str] | None
    input_shapes: Sequence[Sequence[int]] | None


def export_request(
    model: Any,
    target: Path,
    suffixes: Sequence[str],
    example_input: Any,
    input_names: list[str] | None,
    output_names: list[str] | None,
    input_shapes: Sequence[Sequence[int]] | None,
) -> ExportRequest:
    """Check what an export is asked for; arguments as for `nncf_slb.export_openvino`.

    Args:
        suffixes: Endings that `target` may have.

    Raises:
        ExportError: On a wrong name of the file, a missing example input, shapes or names that do not fit it, or a
            model without coded weights.
        TypeError: If `model` is neither a controller nor a torch module.
    """
    check_path(target, suffixes)
    stripped = stripped_network(model)
    args, kwargs = arguments_for(model, example_input)
    if not coded_weights(stripped):
        raise ExportError(
            f"model: received {type(model).__name__} without searched weights; pass the controller that "
            "create_compressed_model returned, or what its strip() returned"
        )
    refuse_not_finite(stripped)
    form, examples = form_of_call(stripped, args, kwargs)
    if input_names is not None and len(input_names) != len(examples):
        raise ExportError(
            f"input_names: received {len(input_names)}; allowed are as many as the network has inputs, "
            f"{len(examples)}. Name each of them, or leave input_names out"
        )
    if input_shapes is not None:
        _check_shapes(input_shapes, examples)
    return ExportRequest(model, stripped, target, form, examples, input_names, output_names, input_shapes)


def check_path(target: Path, suffixes: Sequence[str]) -> None:
    """Refuse a name that no file of these kinds can have.

    Raises:
        ExportError: If it ends in none of the suffixes, or is that of a folder.
    """
    if target.suffix not in suffixes:
        raise ExportError(f"path: received '{target}'; allowed are names that end in {' or '.join(suffixes)}")
    for file in [target, target.with_suffix(".bin")] if target.suffix == ".xml" else [target]:
        if file.is_dir():
            raise ExportError(f"path: received '{target}', but '{file}' is a folder; allowed is the name of a file")


def arguments_for(model: Any, example_input: Any) -> Arguments:
    """Positional and keyword arguments from what the user gave, or the host.

    Raises:
        ExportError: If neither gives any.
    """
    if example_input is None:
        defaults = export_defaults(model)
        if defaults is None:
            raise ExportError(
                "example_input: received None; allowed is a tensor with the shape to export. A stripped model "
                "needs one, and so does a search whose config has no input_info and that got no loader. Call "
                "nncf_slb.export_openvino(..., example_input=tensor)"
            )
        return defaults.example(model.model)
    return arguments_of(example_input)


def _check_shapes(shapes: Sequence[Sequence[int]], examples: tuple[Tensor, ...]) -> None:
    received = [list(shape) for shape in shapes]
    example_shapes = [list(example.shape) for example in examples]
    fits = len(received) == len(example_shapes) and all(
        len(shape) == len(example) and all(s in (-1, e) for s, e in zip(shape, example, strict=True))
        for shape, example in zip(received, example_shapes, strict=True)
    )
    if not fits:
        raise ExportError(
            f"input_shapes: received {received}; allowed are the shapes of the example inputs, {example_shapes}, "
            "with -1 for any size in place of some numbers"
        )
