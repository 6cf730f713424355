"""One list of faults: what shows it, and what this package does instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_CPU = Path("/proc/cpuinfo")
FLAGS = frozenset(_CPU.read_text().split()) if _CPU.exists() else frozenset()
OPENVINO, ONNX_RUNTIME, NNCF = "OpenVINO CPU plugin 2026.4.1", "ONNX Runtime 1.32.0", "NNCF 2.19.0 and 3.4.0"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        runtime: Runtime and version that it was seen with.
        detour: Functions of this package that step around it, below ``nncf_slb``.
        needs: Features of the processor, any of which it takes; empty for every processor.
        shows: Makes a minimal model and tells whether the fault shows. Its docstring says what goes wrong.
    """

    runtime: str
    detour: tuple[str, ...]
    needs: tuple[str, ...]
    shows: Callable[[], bool]

    @property
    def title(self) -> str:
        """What goes wrong, in one sentence."""
        return self._text.splitlines()[0].rstrip(".")

    @property
    def details(self) -> str:
        """When it does, and when not; empty where the title says it all."""
        return " ".join(" ".join(self._text.splitlines()[1:]).split())

    @property
    def _text(self) -> str:
        return (self.shows.__doc__ or "").strip()

    @property
    def is_here(self) -> bool:
        """Whether this processor has what the fault needs."""
        return not self.needs or bool(FLAGS & set(self.needs))


FAULTS: list[Fault] = []


def fault(
    runtime: str, *detour: str, needs: tuple[str, ...] = ()
) -> Callable[[Callable[[], bool]], Callable[[], bool]]:
    """Enter a reproducer into the list; arguments as for `Fault`."""

    def enter(shows: Callable[[], bool]) -> Callable[[], bool]:
        FAULTS.append(Fault(runtime, detour, needs, shows))
        return shows

    return enter
