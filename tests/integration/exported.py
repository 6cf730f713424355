"""A network of every kind of layer, searched, and its IR as OpenVINO runs it."""

import numpy as np
import openvino as ov
import torch

from tests.networks import MIXED_ENDS, Mixed, compress, make_config

SIZE = [8, 1, 12, 12]


def searched_mixed(weights, others=(), loader=None):
    torch.manual_seed(0)
    config = make_config(SIZE, {"weights": weights, "ignored_scopes": MIXED_ENDS}, others)
    ctrl, model = compress(Mixed(), config, loader)
    model.train()
    for _ in range(3):  # batch norm statistics other than 0 and 1
        model(torch.randn(*SIZE))
    return ctrl, model.eval()


def images():
    return torch.randn(*SIZE, generator=torch.Generator().manual_seed(1))


def infer(path, x, static=False):
    model = ov.Core().read_model(path)
    if static:
        model.reshape(list(x.shape))
    compiled = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([x.numpy()])[0], compiled


def packed_types(path):
    """Element types of packed weights; a zero point of one element is none."""
    constants = [op for op in ov.Core().read_model(path).get_ops() if op.get_type_name() == "Constant"]
    types = [c.get_element_type().get_type_name() for c in constants if np.prod(list(c.get_output_shape(0))) > 1]
    return [t for t in types if t in ("u1", "u2", "u3", "u4")]
