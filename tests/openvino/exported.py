"""Exported networks that the tests of this folder share."""

import xml.etree.ElementTree as ElementTree
from functools import lru_cache

import torch

import nncf_slb
from tests.networks import Small, compress, digits, make_config, train


@lru_cache
def searched_small(bits=2, activations=32, seed=0):
    """Controller of a network that trained for one epoch on digits; no test changes it."""
    torch.manual_seed(seed)
    loader, _, _ = digits()
    section = {"weights": {"bits": bits}, "activations": {"bits": activations}}
    ctrl, model = compress(Small(), make_config([50, 1, 8, 8], section), loader)
    train(ctrl, model, loader, 1)
    return ctrl


def exported_small(folder, bits=2, activations=32, name="m.xml", **settings):
    """Controller and its IR."""
    ctrl = searched_small(bits, activations)
    return ctrl, nncf_slb.export_openvino(ctrl, folder / name, **settings)


def corrupt_codes(path, layer):
    """Overwrite the stored codes of one layer in a ``.bin`` by zeros."""
    root = ElementTree.parse(path).getroot()
    stored = [node for node in root.iter("layer") if node.get("type") == "Const"]
    shape = {"first": "8,1,3,3", "second": "16,8,3,3", "head": "10,16"}[layer]
    for node in stored:
        data = node.find("data")
        if data.get("element_type", "").startswith("u") and data.get("shape", "").replace(" ", "") == shape:
            start, size = int(data.get("offset")), int(data.get("size"))
            content = bytearray(path.with_suffix(".bin").read_bytes())
            content[start : start + size] = bytes(size)
            path.with_suffix(".bin").write_bytes(bytes(content))
            return
    raise AssertionError(f"no codes of {layer}")
