"""An exported IR that is called like the network it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nncf_slb.openvino.ir import compile_ir, read_own_ir


class IrNetwork:
    """Calls take the arguments of the torch network, and give its output, or a tuple of them where it has several.

    Args:
        path: ``.xml`` file that this package wrote.
        device: OpenVINO device.
        properties: Properties to compile with. A processor with AMX computes floating point parts in bfloat16 unless
            ``INFERENCE_PRECISION_HINT`` says ``f32``.

    Raises:
        nncf_slb.openvino.ir.IrError: If the file cannot be used.
        nncf_slb.errors.DeviceError: If the device cannot compile it.
    """

    def __init__(self, path: str | Path, device: str = "CPU", properties: dict[str, Any] | None = None) -> None:
        model, _ = read_own_ir(path)
        self._batch = next((_fixed(port) for port in model.inputs if len(port.get_partial_shape())), None)
        self._compiled = compile_ir(model, device, properties, path)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, in parts of the batch that the file is fixed to, if it is."""
        tensors = [x.detach().cpu() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        samples = next((len(tensor) for tensor in tensors if tensor.dim()), 1)
        size = self._batch or samples
        parts = [
            self._run([tensor[start : start + size] if tensor.dim() else tensor for tensor in tensors], size)
            for start in range(0, samples, size)
        ]
        outputs = tuple(torch.cat(column) if column[0].dim() else column[0] for column in zip(*parts, strict=True))
        return outputs[0] if len(outputs) == 1 else outputs

    def eval(self) -> IrNetwork:
        """Itself, as a network in evaluation mode: functions that measure networks call this first."""
        return self

    def _run(self, tensors: list[Tensor], size: int) -> list[Tensor]:
        """Outputs for at most `size` samples; where they are fewer, the last one is repeated, and left out again."""
        samples = next((len(tensor) for tensor in tensors if tensor.dim()), size)
        if samples < size:
            full = [torch.cat([x, x[-1:].expand(size - samples, *x.shape[1:])]) if x.dim() else x for x in tensors]
            return [output[:samples] if output.dim() else output for output in self._run(full, size)]
        result = self._compiled([tensor.numpy() for tensor in tensors])
        return [torch.from_numpy(result[port].copy()) for port in self._compiled.outputs]


def _fixed(port: Any) -> int | None:
    dimension = port.get_partial_shape()[0]
    return None if dimension.is_dynamic else int(dimension.get_length())
