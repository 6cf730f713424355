"""Other post-training methods on the same samples."""

from __future__ import annotations

import tempfile
from pathlib import Path
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
    """NNCF's post-training quantization: weights and activations in 8 bits, defaults, 300 samples."""
    example = subject.samples[:1]
    model = ov.convert_model(subject.model, example_input=example, input=[ov.PartialShape([-1, *example.shape[1:]])])
    data = nncf.Dataset(list(subject.samples[:300].split(1)), lambda sample: sample.numpy())
    quantized = nncf.quantize(model, data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(quantized, path, compress_to_fp16=False)
        size = path.with_suffix(".bin").stat().st_size
    return {"float": subject.test(subject.model), "searched": subject.test(_Compiled(quantized)), "bytes": size}
