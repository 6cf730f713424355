"""Other post-training methods on the same samples."""

from __future__ import annotations

from typing import Any

import nncf
import openvino as ov
import torch

from benchmarks.post_training.networks import Subject
from nncf_slb.openvino.ir import compile_ir


class _Compiled:
    """A compiled model that takes and gives torch tensors."""

    def __init__(self, model: ov.Model) -> None:
        self._model = model
        self._compiled: dict[tuple[int, ...], ov.CompiledModel] = {}

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        shape = (-1, *samples.shape[1:])  # images of another size than the samples' too
        if shape not in self._compiled:
            self._model.reshape(ov.PartialShape(shape))
            self._compiled[shape] = compile_ir(self._model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return torch.from_numpy(self._compiled[shape]([samples.numpy()])[0].copy())


def nncf_eight_bits(subject: Subject) -> dict[str, Any]:
    """NNCF's post-training quantization: weights and activations in 8 bits, 300 samples.

    It takes the mean over the batches of each batch's extremes for a range, so both single samples and batches of 100
    are tried, and validation decides.
    """
    example = subject.samples[:1]
    shape = ov.PartialShape([-1, *example.shape[1:]])
    found = []
    for size in (1, 100):
        model = ov.convert_model(subject.model, example_input=example, input=[shape])
        data = nncf.Dataset(list(subject.samples[:300].split(size)), lambda sample: sample.numpy())
        network = _Compiled(nncf.quantize(model, data))
        found.append((subject.validation(network), size, network))
    _, size, network = max(found, key=lambda one: one[:2])
    return {"float": subject.test(subject.model), "searched": subject.test(network), "setting": f"batches of {size}"}
