"""OpenVINO's readers of other formats."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import openvino as ov
import torch
from onnx import TensorProto
from torch import nn

from benchmarks.faults.fault import OPENVINO, fault
from benchmarks.faults.onnx_runtime import Node, model_of, run
from benchmarks.faults.pieces import fails, is_wrong


@fault(OPENVINO, "openvino.conversion.convert_torch")
def no_rule_for_diff() -> bool:
    """The reader of PyTorch's networks has no rule for torch.diff, which masks of transformers use."""

    class Differences(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.diff(x)

    return fails(lambda: ov.convert_model(Differences(), example_input=torch.randn(2, 4)) is not None)


@fault(OPENVINO, "onnx.weights.WeightWriter.integer")
def shifts_that_round() -> bool:
    """A BitShift to the right of uint8 in an ONNX file rounds where it is computed in an inference.

    It becomes a division, whose result is rounded in place of cut off. Exports mask the bit first, so that nothing is
    left to round.
    """
    nodes: list[Node] = [
        ("Cast", ["x"], "n", {"to": TensorProto.UINT8}), ("BitShift", ["n", "one"], "s", {"direction": "RIGHT"}),
        ("Cast", ["s"], "y", {"to": TensorProto.FLOAT}),
    ]  # fmt: skip
    model, x = model_of(nodes, {"one": np.array(1, np.uint8)}, ("n", 8)), np.arange(8, dtype=np.float32)[None]
    return is_wrong(ov.Core().read_model(BytesIO(model)), x, run(model, x))
