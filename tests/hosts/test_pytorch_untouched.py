"""Importing the package changes nothing for code that has nothing to do with NNCF."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu  # imported by name: PyTorch's own functions, not NNCF's wrappers

from tests.hosts import pytorch_probes
from tests.networks import compress, digits, make_config

PROBES = Path(pytorch_probes.__file__)


@cache
def probed(*packages, **environment):
    command = [sys.executable, "-m", "tests.hosts.pytorch_probes", *packages]
    root, env = PROBES.parents[2], {**os.environ, **environment}
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=root, check=True)
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", pytorch_probes.PROBES)
def test_pytorch_does_the_same_with_the_package_as_without(name):
    alone = probed()[name]
    assert not str(alone).startswith(("AttributeError", "NameError")), "the probe itself is wrong"
    assert probed("nncf_slb")[name] == alone


@pytest.mark.parametrize("name", ["devices_of_a_context", "default_device", "pickled_functions", "tables_of_overrides"])
def test_what_nncf_did_before_is_mended(name):
    assert probed("nncf.torch", "nncf_slb", NNCF_TORCH_LEGACY_TRACING="1")[name] == probed()[name]


def test_without_the_package_nncf_changes_pytorch():
    """Fails on the day when NNCF leaves PyTorch alone, so that `nncf_slb.hosts.nncf2.tracing` can go."""
    changed = probed("nncf.torch", NNCF_TORCH_LEGACY_TRACING="1")
    for name in ("devices_of_a_context", "pickled_functions", "tables_of_overrides"):
        assert changed[name] != probed()[name]


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 10)

    def forward(self, x):
        x = relu(self.second(max_pool2d(relu(self.first(x)), 2)))
        return self.head(x.mean((2, 3)))


def test_nncf_still_traces_functions_that_a_network_imported_by_name():
    loader, x, _ = digits()
    weights = {"ignored_scopes": ["{re}first", "{re}second"]}
    quantization = {"algorithm": "quantization", "initializer": {"range": {"num_init_samples": 50}}, "weights": weights}
    _, model = compress(ByName(), make_config([50, 1, 8, 8], {"ignored_scopes": ["{re}head"]}, [quantization]), loader)
    names = {node.node_name for node in model.nncf.get_original_graph().get_all_nodes()}
    assert {"ByName/max_pool2d_0", "ByName/relu_0", "ByName/relu_1"} <= names
    assert type(model(x)) is torch.Tensor
