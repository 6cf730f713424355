"""docs/runtime-faults.md, from the list of faults.

python -m benchmarks.faults.page docs/runtime-faults.md
"""

from __future__ import annotations

import inspect
import sys
from itertools import groupby
from pathlib import Path

from benchmarks.documents import write_between_markers
from benchmarks.faults import listed, onnx_runtime, openvino_binary, pieces
from benchmarks.faults.fault import Fault
from nncf_slb.tables import markdown_table

NAME, PIECES = "faults", "pieces of the models"
HELPERS = (openvino_binary.binary_convolution, openvino_binary.sign, openvino_binary.expected_binary)
ONNX_HELPERS = (
    onnx_runtime.model_of, onnx_runtime.session, onnx_runtime.run, onnx_runtime.kinds, onnx_runtime.pair,
    onnx_runtime.int8_weight,
)  # fmt: skip


def text() -> str:
    """A table of all faults, then each with its model."""
    faults = listed.FAULTS
    rows = [[f"[{fault.title}](#{_anchor(fault)})", fault.runtime, _detours(fault)] for fault in faults]
    parts = [markdown_table(["fault", "seen with", "detour"], rows, "lll")]
    for runtime, group in groupby(faults, key=lambda fault: fault.runtime):
        parts.append(f"## {runtime}")
        parts += [_section(fault) for fault in group]
    return "\n\n".join(parts)


def _section(fault: Fault) -> str:
    lines = [f"### {fault.shows.__name__.replace('_', ' ').capitalize()}", "", f"{fault.title}."]
    if fault.details:
        lines[-1] += f" {fault.details}"
    if fault.needs:
        lines[-1] += f" Needs a processor with {' or '.join(fault.needs)}."
    return "\n".join([*lines, "", f"Detour: {_detours(fault)}", "", "```python", _code(fault), "```"])


def _code(fault: Fault) -> str:
    """The function without its entry in the list and its docstring."""
    source = inspect.getsource(fault.shows)
    source = source[source.index("def ") :]
    begin = source.index('    """')
    end = source.index('"""', begin + 7) + 4
    return (source[:begin] + source[end:]).rstrip()


def _detours(fault: Fault) -> str:
    return ", ".join(f"`{name}`" for name in fault.detour) or "none"


def _anchor(fault: Fault) -> str:
    return fault.shows.__name__.replace("_", "-")


def helpers() -> str:
    """Code that the models share, for reports that are complete."""
    of_onnx = "\n\n\n".join(inspect.getsource(each).rstrip() for each in ONNX_HELPERS)
    of_binary = "\n\n\n".join(inspect.getsource(each).rstrip() for each in HELPERS)
    constants = 'STEP = {"step": np.float32(1 / 32), "middle": np.uint8(128)}\nSHAPE = ("n", 8, 8, 8)'
    return "\n\n".join(
        ["```python", inspect.getsource(pieces).rstrip(), of_binary, "```", "```python", constants, of_onnx, "```"]
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the page's generated parts."""
    (page,) = sys.argv[1:] if arguments is None else arguments
    write_between_markers(Path(page), NAME, text())
    write_between_markers(Path(page), PIECES, helpers())
    return 0


if __name__ == "__main__":
    sys.exit(main())
