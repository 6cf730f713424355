"""From a stripped network to an ONNX graph in which quantizers are single operators and weights codes times a scale."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import version_converter
from torch import Tensor, nn
from torch.onnx import utils as exporter

from nncf_slb.onnx.graph import DOMAIN, FAKE_QUANTIZE, FAKE_QUANTIZE_CHANNELS
from nncf_slb.openvino.call_form import CallForm, flat_call
from nncf_slb.openvino.low_bit_model import ExportError
from nncf_slb.openvino.tracing_form import tracing_form
from nncf_slb.search.fast_path import all_layers_run

BASE_OPSET = 18  # the first with BitwiseAnd


def trace(
    network: nn.Module,
    examples: Sequence[Tensor],
    form: CallForm,
    input_names: Sequence[str],
    output_names: Sequence[str] | None,
    free: Mapping[str, Mapping[int, str]],
    opset: int,
) -> onnx.ModelProto:
    """ONNX graph of a network in eval mode.

    Args:
        network: Stripped network in float32.
        examples: Inputs to trace with.
        form: How the network takes them.
        input_names: A name for each input.
        output_names: A name for each output; None for the exporter's.
        free: Dimensions of inputs that may have any size, with a name for the size.
        opset: Version of the standard operators, from 18 on.

    Raises:
        ExportError: If the network cannot be converted.
    """
    with ExitStack() as stack:
        stack.enter_context(tracing_form(network))
        stack.enter_context(flat_call(network, form))
        stack.enter_context(_quantizers_as_operators())
        stack.enter_context(all_layers_run())
        stack.enter_context(_without_graphs())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "traced.onnx"
        try:
            with torch.no_grad(), redirect_stdout(io.StringIO()):
                torch.onnx.export(
                    network,
                    tuple(examples),
                    str(file),
                    input_names=list(input_names),
                    output_names=None if output_names is None else list(output_names),
                    dynamic_axes={name: dict(axes) for name, axes in free.items() if axes},
                    opset_version=BASE_OPSET,
                    dynamo=False,
                    do_constant_folding=False,  # it would turn codes into indices of 64 bits
                )
        except ImportError as error:
            raise ExportError(f"ONNX export needs the extra 'onnx': pip install '.[onnx]' ({error})") from error
        except Exception as error:  # those of the exporter share no class of their own
            raise ExportError(f"the network cannot be converted to ONNX: {_reason(error)}") from error
        model = onnx.load(file)
    return model if opset == BASE_OPSET else _converted(model, opset)


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:  # onnx's own ConvertError, or RuntimeError
        raise ExportError(
            f"the network cannot be written with operators of opset {opset}: {_reason(error)}. Use opset {BASE_OPSET}"
        ) from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _without_graphs() -> Iterator[None]:
    """Within it, PyTorch's exporter does not print the whole graph when it fails; its switch is always on (2.13)."""
    library: Any = torch._C
    log = library._jit_onnx_log
    library._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        library._jit_onnx_log = log


@contextmanager
def _quantizers_as_operators() -> Iterator[None]:
    """Within it, PyTorch's quantization is exported as one operator of ours, with any levels."""
    names: dict[str, Callable[..., Any]] = {
        "fake_quantize_per_tensor_affine": _per_tensor,
        "fake_quantize_per_channel_affine": _per_channel,
    }
    for name, symbolic in names.items():
        exporter.register_custom_op_symbolic(f"aten::{name}", symbolic, BASE_OPSET)
    try:
        yield
    finally:
        for name in names:
            exporter.unregister_custom_op_symbolic(f"aten::{name}", BASE_OPSET)


def _number(g: Any, value: Any, dtype: torch.dtype) -> Any:
    """A scale or zero point, which may be a number or a tensor, as a tensor."""
    node = value.node()
    if node.kind() == "prim::Constant":
        return g.op("Constant", value_t=torch.as_tensor(value.toIValue(), dtype=dtype))
    return value


def _whole(value: Any) -> int:
    return int(value.toIValue() if value.node().kind() == "prim::Constant" else value.node().t("value"))


def _per_tensor(g: Any, x: Any, scale: Any, zero_point: Any, lowest: Any, highest: Any) -> Any:
    inputs = x, _number(g, scale, torch.float32), _number(g, zero_point, torch.int32)
    levels = {"lowest_i": _whole(lowest), "highest_i": _whole(highest)}
    return g.op(f"{DOMAIN}::{FAKE_QUANTIZE}", *inputs, **levels).setType(x.type())


def _per_channel(g: Any, x: Any, scale: Any, zero_point: Any, axis: Any, lowest: Any, highest: Any) -> Any:
    inputs = x, _number(g, scale, torch.float32), _number(g, zero_point, torch.int32)
    levels = {"axis_i": _whole(axis), "lowest_i": _whole(lowest), "highest_i": _whole(highest)}
    return g.op(f"{DOMAIN}::{FAKE_QUANTIZE_CHANNELS}", *inputs, **levels).setType(x.type())
