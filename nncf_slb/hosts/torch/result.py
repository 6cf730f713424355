"""What a search without labels gives: the network, and how it compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from nncf_slb.errors import SettingError
from nncf_slb.hosts.exporting import export_openvino
from nncf_slb.openvino.export import export_float
from nncf_slb.search.agreement import Agreement
from nncf_slb.tables import terminal_table

if TYPE_CHECKING:
    from nncf_slb.hosts.torch.recording import SearchRecording


@dataclass(frozen=True)
class Row:
    """One network of the result.

    Attributes:
        name: ``float``, ``nearest``, ``searched``, or the name of a file.
        agreement: With the float network, on samples that the search has not seen; None for the float network.
        score: What the user's function gave; None without one.
        bytes: Bytes of all weights, packed, or of the file that holds them.
    """

    name: str
    agreement: Agreement | None
    score: float | None
    bytes: int


@dataclass
class PostTraining:
    """Result of `search_post_training`.

    Attributes:
        model: Stripped network: plain torch with integer codes and scales, in eval mode.
        rows: Float network, nearest values without a search, searched network, and the files exported so far.
        bits: Bits of the weights by layer, first and last layers included.
        full_precision: Modules with matrices that stay in full precision, with the reason.
        held_out: Samples that the agreement was measured with.
        interrupted: Whether the search ended before all steps were done.
    """

    model: nn.Module
    rows: list[Row]
    bits: dict[str, int]
    full_precision: dict[str, str]
    held_out: int
    interrupted: bool
    _target: nn.Module = field(repr=False)
    _example: tuple[Any, ...] = field(repr=False)
    _row_of_file: Callable[[Path], Row] = field(repr=False)
    _samples: Any = field(repr=False)
    _recording: SearchRecording = field(repr=False)
    _milliseconds: dict[str, float] = field(default_factory=dict, repr=False)

    def export(self, path: str | Path, **settings: Any) -> Path:
        """Write OpenVINO IR (``.xml``) or ONNX (``.onnx``), and add a row for the file to the report.

        Args:
            path: File to write.
            settings: As for `nncf_slb.export_openvino`.

        Raises:
            nncf_slb.openvino.low_bit_model.ExportError: As `nncf_slb.export_openvino` does.
        """
        target = export_openvino(self.model, path, **{"example_input": self._example, **settings})
        if target.suffix == ".xml":
            row = self._row_of_file(target)
            self.rows = [*(each for each in self.rows if each.name != target.name), row]
            self._recording.file(row, target, self.model, self._samples)
        return target

    def export_float(self, path: str | Path) -> Path:
        """Write the float network as OpenVINO IR, to compare with.

        Args:
            path: ``.xml`` file to write.

        Raises:
            nncf_slb.openvino.low_bit_model.ExportError: If OpenVINO cannot convert it.
        """
        return export_float(self._target, path, self._example)

    def record_latency(self, name: str, milliseconds: float) -> None:
        """Add a latency to the report, and to what the search has written to its ``log_dir``.

        Args:
            name: Of the row: ``float``, or the name of an exported file.
            milliseconds: Of a batch of 1.

        Raises:
            SettingError: If there is no such row.
        """
        timed = [row.name for row in self.rows if row.name == "float" or row.name.endswith(".xml")]
        if name not in timed:
            raise SettingError(f"name: received {name!r}; allowed: {', '.join(timed)}")
        self._milliseconds[name] = milliseconds
        self._recording.latency("float" if name == "float" else "IR", milliseconds)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name, without the network."""
        return {
            "networks": [asdict(row) for row in self.rows], "bits": self.bits, "full_precision": self.full_precision,
            "held_out": self.held_out, "interrupted": self.interrupted,
        }  # fmt: skip

    def report(self) -> str:
        """Table for the terminal: agreement, score, bytes and latency of each network, and the bits of the layers."""
        scored = any(row.score is not None for row in self.rows)
        timed = any(row.name in self._milliseconds for row in self.rows)
        rows = [
            [
                row.name,
                "-" if row.agreement is None else str(row.agreement),
                *(["-" if row.score is None else _shown(row.score)] if scored else []),
                f"{row.bytes:,}",
                f"{self.rows[0].bytes / row.bytes:.1f}",
                *([_milliseconds(self._milliseconds.get(row.name))] if timed else []),
            ]
            for row in self.rows
        ]
        header = ["network", "agreement", *(["score"] if scored else []), "bytes", "times smaller"]
        header += ["ms"] if timed else []
        lines = [
            terminal_table(header, rows, "l" + "r" * (len(header) - 1)),
            f"agreement with the float network on {self.held_out} samples that the search has not seen",
            f"bits: {_counted(self.bits)}",
        ]
        if self.full_precision:
            kept = ", ".join(f"{path or 'the network'} ({reason})" for path, reason in self.full_precision.items())
            lines.append(f"full precision: {kept}")
        if self.interrupted:
            lines.append("the search was interrupted before its last step")
        return "\n".join(lines)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _shown(score: float) -> str:
    return f"{score:.2f}" if abs(score) >= 10 else f"{score:.4f}"


def _counted(bits: dict[str, int]) -> str:
    """Layers by bits: ``2 bits in 8 layers, 8 in 2 (conv1, fc)``."""
    by_bits: dict[int, list[str]] = {}
    for path, width in bits.items():
        by_bits.setdefault(width, []).append(path)
    parts = []
    for width, paths in sorted(by_bits.items()):
        named = ", ".join(paths) if len(paths) < 4 else f"{len(paths)} layers"
        parts.append(f"{width} bit{'s' if width > 1 else ''} in {named}")
    return "; ".join(parts)
