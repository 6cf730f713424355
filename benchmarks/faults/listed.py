"""All faults: importing a module of them enters them into the list."""

from benchmarks.faults import (  # noqa: F401
    nncf_graph,
    onnx_runtime,
    openvino_binary,
    openvino_frontends,
    openvino_fusing,
    openvino_kernels,
    openvino_process,
    openvino_rounding,
)
from benchmarks.faults.fault import FAULTS as _ENTERED
from benchmarks.faults.fault import NNCF, ONNX_RUNTIME, OPENVINO

FAULTS = sorted(_ENTERED, key=lambda fault: (OPENVINO, ONNX_RUNTIME, NNCF).index(fault.runtime))
