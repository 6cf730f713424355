"""The files that a run writes as it goes, in its folder: whole lines of JSON, and the same numbers for TensorBoard.

``run.json`` says what the run is, ``metrics.jsonl`` has a line for each epoch or some steps, and ``results.jsonl`` one
for each network that was measured and each comparison of a file with PyTorch. Lines cut short by a kill are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from nncf_slb.files import new_file, with_nulls
from nncf_slb.reports.facts import RunFacts
from nncf_slb.search.statistics import LayerStatistics

FACTS, METRICS, RESULTS = "run.json", "metrics.jsonl", "results.jsonl"
Counter = Literal["epoch", "step"]
_DIGITS = 6


class Recording:
    """Writes the files of one run.

    Args:
        folder: Folder of the run, made where missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def begin(
        self, facts: RunFacts, counter: Counter, done: int = 0, fresh: bool = True, search: str | None = None
    ) -> None:
        """Prepare the files.

        Args:
            facts: The run.
            counter: What its lines count.
            done: Epochs or steps that it has behind it; what the files hold of later ones goes.
            fresh: Whether it is a new run, whose files take the place of former ones.
            search: Which of several searches begins; None where there is one.

        Raises:
            OSError: If they cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self.describe(facts, fresh)
        lines = [] if fresh else list(_kept(read_lines(self._folder / METRICS)[0], counter, done, search))
        _write(self._folder / METRICS, "".join(json.dumps(line) + "\n" for line in lines))
        if fresh:
            (self._folder / RESULTS).unlink(missing_ok=True)
        self.end()
        self._writer = _summary_writer(self._folder, done + 1)

    def describe(self, facts: RunFacts, fresh: bool = False) -> None:
        """Say what the run is, unless it is fresh with the beginning and the commands of what was said before.

        Raises:
            OSError: If it cannot be written.
        """
        before = None if fresh else read_facts(self._folder)[0]
        if before is not None:
            commands = [*before.commands, *(each for each in facts.commands if each not in before.commands)]
            facts = facts.model_copy(update={"started": before.started, "commands": commands})
        _write(self._folder / FACTS, facts.model_dump_json(indent=1) + "\n")

    def add(self, counter: Counter, numbers: Mapping[str, Any]) -> None:
        """A line of numbers, which hold the counter; nested ones are those of layers.

        Raises:
            OSError: If it cannot be written.
        """
        _append(self._folder / METRICS, numbers)
        if self._writer is not None:
            for name, value in scalars(numbers):
                if name != counter:
                    self._writer.add_scalar(name, value, numbers[counter])
            self._writer.flush()

    def network(self, name: str, **numbers: Any) -> None:
        """What was measured of a network.

        Args:
            name: ``float``, ``nearest``, ``searched`` or ``IR``.
            numbers: Fields of `nncf_slb.reports.data.Network`; later ones replace former ones.

        Raises:
            OSError: If it cannot be written.
        """
        self._result({"kind": "network", "name": name, **numbers})

    def verification(self, found: Mapping[str, Any]) -> None:
        """A comparison of a file with PyTorch, as from `nncf_slb.Verification.to_dict`.

        Raises:
            OSError: If it cannot be written.
        """
        self._result({"kind": "verification", **found})

    def finish(self, interrupted: bool = False, search: str | None = None) -> None:
        """Say that the run has ended.

        Args:
            interrupted: Whether before its last epoch or step.
            search: Which of several searches was chosen; None where there is one.

        Raises:
            OSError: If it cannot be written.
        """
        self._result({"kind": "end", "interrupted": interrupted, "search": search})

    def _result(self, line: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        _append(self._folder / RESULTS, line)
        if line["kind"] == "network":
            writer = self._writer or _summary_writer(self._folder, None)
            if writer is not None:
                for name, value in scalars(line):
                    writer.add_scalar(f"{line['name']}/{name}", value)
                writer.flush() if writer is self._writer else writer.close()

    def end(self) -> None:
        """Close the files."""
        if self._writer is not None:
            with suppress(OSError):  # of a full disk, which the error that ended the run tells
                self._writer.close()
            self._writer = None


def layer_numbers(layers: Iterable[LayerStatistics], paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What a line of numbers says of each layer, by its path."""
    return {
        path: {
            "confidence": _rounded(layer.mean_confidence), "lowest": _rounded(layer.lowest_confidence),
            "histogram": [_rounded(share) for share in layer.histogram], "zero_channels": layer.zero_channels,
        }
        for path, layer in zip(paths, layers, strict=True)
    }  # fmt: skip


def scalars(numbers: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Finite numbers by name; those of nested parts behind the path to them, such as ``layers/conv1/confidence``."""
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{inner}", number) for inner, number in scalars(value))
        elif isinstance(value, list):
            yield from ((f"{name}/{inner}", n) for inner, n in scalars({str(k): v for k, v in enumerate(value)}))
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, value


def read_facts(folder: Path) -> tuple[RunFacts | None, str | None]:
    """What a run says of itself, or None, and why it cannot be read."""
    try:
        return RunFacts.model_validate_json((folder / FACTS).read_bytes()), None
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError) as error:
        return None, str(error).splitlines()[0]


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Whole lines of a file, and the number of those that cannot be read."""
    found, broken = [], 0
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return [], 0
    for text in lines:
        try:
            line = json.loads(text, parse_constant=lambda _: None)  # NaN and infinity are no JSON
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, dict):
            found.append(line)
        elif text.strip():
            broken += 1
    return found, broken


def _kept(lines: Iterable[dict[str, Any]], counter: Counter, done: int, search: str | None) -> Iterator[dict[str, Any]]:
    """Lines up to `done`, each once, and those of other searches; a kill may come after a line and before its state."""
    last = 0
    for line in lines:
        if line.get("search") != search:
            yield line
            continue
        count = line.get(counter)
        if isinstance(count, int) and last < count <= done:
            last = count
            yield line


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
        with new_file(path) as partial:
            partial.write_text(text, encoding="utf-8")


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """One whole line, also behind one that was cut short; numbers that JSON has no words for become null."""
    with path.open("ab+") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - 1))
        cut = end > 0 and file.read(1) != b"\n"
        file.write((("\n" if cut else "") + json.dumps(with_nulls(line)) + "\n").encode())


def _rounded(number: float) -> float:
    return round(number, _DIGITS)


def _summary_writer(folder: Path, purge: int | None) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # TensorBoard is not installed
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
