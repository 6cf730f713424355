"""Signals after compiled models have gone, in a process of its own: what goes wrong there ends it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TWO_MODELS = """
import os, signal
import numpy as np, openvino as ov
from openvino import opset13 as ops
from nncf_slb.openvino.ir import compile_ir

def compiled():
    x = ops.parameter([1, 4], np.float32)
    return compile_ir(ov.Model([ops.relu(x)], [x]), "CPU")

first, second = compiled(), compiled()
first([np.ones((1, 4), np.float32)])
del first
del second
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_python_handles_signals_after_compiled_models_have_gone():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", TWO_MODELS], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
