"""Forms of a Linear layer with 2-bit weights and 32-bit inputs, in turns: what `openvino.linear` chooses between.

    python -m benchmarks.openvino.linear_forms

Prints, for each form: largest difference to the exact result, relative; the fastest run in milliseconds at each batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from nncf_slb.openvino.graph import packed_constant
from nncf_slb.openvino.ir import core
from nncf_slb.tables import terminal_table

WIDTH, BITS, ROUNDS, RUNS = 4096, 2, 40, 6
BATCHES = (1, 16)
_NUMBERS = np.random.default_rng(0)
CODES = _NUMBERS.integers(0, 2**BITS, (WIDTH, WIDTH)).astype(np.uint8)
SCALE = (_NUMBERS.random((WIDTH, 1)).astype(np.float32) + 0.5) * 0.01


def _packed(x: ov.Node) -> ov.Node:
    """Codes that stay packed, with an integer zero point and a multiple of the inputs' sum."""
    shift = ops.convert(packed_constant(np.full((1, 1), 1, np.uint8), BITS), "f32")
    number = ops.subtract(ops.convert(packed_constant(CODES, BITS), "f32"), shift)
    product = ops.matmul(x, ops.multiply(number, ops.constant(SCALE)), False, True)
    total = ops.reduce_sum(x, ops.constant(np.array([-1])), keep_dims=True)
    return ops.add(product, ops.multiply(ops.multiply(total, np.float32(-0.5)), ops.constant(SCALE.ravel())))


def _unpacked_once(x: ov.Node) -> ov.Node:
    """Codes that the plugin unpacks to int8 as it loads the model."""
    codes = ops.convert(packed_constant(CODES, BITS), "i8")
    number = ops.subtract(ops.add(codes, codes), ops.constant(np.int8(3)))
    return ops.matmul(x, ops.multiply(ops.convert(number, "f32"), ops.constant(SCALE / 2)), False, True)


def _nncf(x: ov.Node) -> ov.Node:
    """Weights of 8 bits in the form of `nncf.compress_weights`."""
    zero_point = ops.convert(ops.constant(np.full((WIDTH, 1), 127, np.uint8)), "f32")
    number = ops.subtract(ops.convert(ops.constant(CODES * np.uint8(85)), "f32"), zero_point)
    return ops.matmul(x, ops.multiply(number, ops.constant(SCALE / 85)), False, True)


def _float(x: ov.Node) -> ov.Node:
    return ops.matmul(x, ops.constant(((CODES - 1.5) * SCALE).astype(np.float32)), False, True)


# Form, and whether the plugin may round its inputs.
FORMS: dict[str, tuple[Callable[[ov.Node], ov.Node], bool]] = {
    "packed, exact": (_packed, False),
    "packed, inputs rounded": (_packed, True),
    "unpacked once, inputs rounded": (_unpacked_once, True),
    "unpacked once, exact": (_unpacked_once, False),
    "NNCF's 8 bits": (_nncf, True),
    "float": (_float, False),
}


def compiled(form: Callable[[ov.Node], ov.Node], rounds: bool) -> ov.CompiledModel:
    """One form, for one thread."""
    x = ops.parameter([-1, WIDTH], np.float32)
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    settings.update({} if rounds else {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0})
    return core().compile_model(ov.Model([form(x)], [x]), "CPU", settings)


def main() -> None:
    """Measure and print."""
    models = {name: compiled(*form) for name, form in FORMS.items()}
    rows: dict[str, list[str]] = {name: [name] for name in models}
    for batch in BATCHES:
        x = _NUMBERS.standard_normal((batch, WIDTH)).astype(np.float32)
        expected = x @ ((CODES - 1.5) * SCALE).T.astype(np.float32)
        fastest = dict.fromkeys(models, float("inf"))
        for name, model in models.items():
            if batch == BATCHES[0]:
                rows[name].append(f"{np.abs(model([x])[0] - expected).max() / np.abs(expected).max():.0e}")
        for _ in range(ROUNDS):
            for name, model in models.items():
                for _ in range(RUNS):
                    started = time.perf_counter()
                    model([x])
                    fastest[name] = min(fastest[name], time.perf_counter() - started)
        for name in models:
            rows[name].append(f"{1e3 * fastest[name]:.2f}")
    header = ["form", "difference", *(f"batch {batch}, ms" for batch in BATCHES)]
    print(terminal_table(header, list(rows.values()), "lrrr"))


if __name__ == "__main__":
    main()
