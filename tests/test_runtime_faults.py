"""Faults of the runtimes that exports step around: each shows without this package, and the page has them all.

A test fails on the day when the runtime is right; the detour that the fault names can go then.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from torch import nn

import nncf_slb
from benchmarks.faults import page
from benchmarks.faults.listed import FAULTS
from tests.plain_networks import Tokens

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "runtime-faults.md"


@pytest.fixture(scope="module")
def shown():
    ran = subprocess.run([sys.executable, "-m", "benchmarks.faults"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout[ran.stdout.index("{") :])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.shows.__name__)
def test_the_fault_is_still_there(fault, shown):
    if not fault.is_here:
        pytest.skip(f"needs a processor with {' or '.join(fault.needs)}")
    assert shown[fault.shows.__name__], f"{fault.runtime} is right now; {fault.detour} can go"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.shows.__name__)
def test_its_detour_is_a_function_of_the_package(fault):
    assert fault.title and fault.runtime
    for name in fault.detour:
        room, module, *rest = name.split(".")
        found = importlib.import_module(f"nncf_slb.{room}.{module}")
        for part in rest:
            found = getattr(found, part)
        assert callable(found)


def test_every_detour_has_a_fault():
    for module in ("detours", "subgraphs"):
        made = importlib.import_module(f"nncf_slb.openvino.{module}")
        names = [name for name, each in vars(made).items()
                 if callable(each) and each.__module__ == made.__name__ and not name.startswith("_")]  # fmt: skip
        named = {name.split(".")[-1] for fault in FAULTS for name in fault.detour}
        assert set(names) - named <= {"take_detours"}


def test_the_page_has_every_fault(tmp_path):
    written = tmp_path / "runtime-faults.md"
    written.write_text(PAGE.read_text())
    assert page.main([str(written)]) == 0
    assert written.read_text() == PAGE.read_text(), "run: python -m benchmarks.faults.page docs/runtime-faults.md"


class Added(nn.Module):
    """Attention by hand that is added to its input, then a gate."""

    def __init__(self):
        super().__init__()
        self.parts, self.gate = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x):
        x = torch.relu(x)
        query, key, value = self.parts(x).chunk(3, -1)
        x = x + 0.5 * (torch.softmax(query @ key.transpose(-1, -2) / 4, -1) @ value)
        return x * torch.sigmoid(self.gate(x))


FIXED = """
import sys, numpy as np, openvino as ov
model = ov.Core().read_model(sys.argv[1])
model.reshape(list(np.load(sys.argv[2]).shape))
compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
np.save(sys.argv[3], compiled([np.load(sys.argv[2])])[0])
"""


@pytest.mark.parametrize(("make", "data"), [(Tokens, torch.randint(0, 20, (4, 6))), (Added, torch.randn(4, 6, 16))])
@pytest.mark.parametrize("activations", [32, 8])
def test_attention_between_sums_runs_with_a_fixed_batch(make, data, activations, tmp_path):
    torch.manual_seed(0)
    section = {"algorithm": "slb", "weights": {"bits": 2}, "activations": {"bits": activations},
               "openvino": {"dry_export": False}}  # fmt: skip
    ctrl, _ = nncf_slb.create_compressed_model(
        make(), {"epochs": 1, "compression": section}, [(data, torch.zeros(4))], host="torch"
    )
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml", example_input=data)
    np.save(tmp_path / "x.npy", data.numpy())
    files = [str(tmp_path / name) for name in ("m.xml", "x.npy", "y.npy")]
    subprocess.run([sys.executable, "-c", FIXED, *files], check=True)  # where it would die, so would this process
    free = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([data.numpy()])[0]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), free, atol=1e-4 * np.abs(free).max())
