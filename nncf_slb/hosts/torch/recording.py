"""What a search without labels writes of itself, for its report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from nncf_slb.config.section import SLBConfig
from nncf_slb.errors import SettingError, SLBError, printable
from nncf_slb.hosts.torch.planning import Plan
from nncf_slb.hosts.torch.result import Row
from nncf_slb.hosts.torch.search import Inserted
from nncf_slb.openvino.call_form import Arguments
from nncf_slb.openvino.verification import verify_openvino
from nncf_slb.reports.facts import RunFacts, layer_plans, machine
from nncf_slb.reports.recording import Recording, layer_numbers
from nncf_slb.search.reconstruction import Progress
from nncf_slb.search.statistics import layers_statistics

_LINES = 50  # in a search


class SearchRecording:
    """Writes the files of a run (`nncf_slb.reports.recording`); nothing without a folder.

    Args:
        folder: The folder; None for none.
        model: Float network.
        settings: Settings of the search.
        sensitivities: For each layer, its sensitivity by bits, where bits are chosen by measurement.

    Raises:
        SettingError: From all methods, if a file cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        model: nn.Module,
        settings: SLBConfig,
        sensitivities: dict[str, dict[int, float]],
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self._recording = None if self._folder is None else Recording(self._folder)
        budget = settings.weights.budget
        self._of_searches: dict[str | None, RunFacts] = {}
        self._facts = RunFacts(
            way="post-training", network=type(model).__name__, sensitivities=sensitivities,
            machine=machine(str(next(model.parameters()).device)), config=settings.model_dump(mode="json"),
            budget_bytes=None if budget is None else budget.bytes,
        )  # fmt: skip
        self._began = False
        self._search: str | None = None
        self._inserted = Inserted()
        self._codes: dict[Any, Tensor] = {}

    def begin(self, inserted: Inserted, plan: Plan, done: int, steps: int, search: str | None) -> None:
        """Begin a search.

        Args:
            inserted: What was put into the network.
            plan: What becomes of each layer.
            done: Steps that it has behind it.
            steps: Its steps in all.
            search: Its name, where there are several.
        """
        if self._recording is None:
            return
        self._inserted, self._search = inserted, search
        layers = layers_statistics(inserted.searched, {})
        edges = [path for path in inserted.weights if path not in inserted.searched]
        kept = {path: str(reason) for path, reason in plan.full_precision.items()}
        facts = self._facts.model_copy(update={
            "layers": layer_plans(layers, str), "eight_bit_layers": edges, "full_precision_layers": kept,
            "length": steps,
        })  # fmt: skip
        self._of_searches[search] = facts
        self._write(self._recording.begin, facts, "step", done, not (self._began or done), search)
        self._began = True
        self._codes = self._codes_now()

    def step(self, state: Progress) -> None:
        """Record every so many steps, and the last one."""
        every = max(1, state.steps // _LINES)
        if self._recording is None or (state.step % every and state.step != state.steps):
            return
        searched = self._inserted.searched
        layers = layers_statistics(searched, self._codes)
        weights = sum(layer.weights for layer in layers)
        means = {
            name: sum(getattr(layer, field) * layer.weights for layer in layers) / weights
            for name, field in (("confidence", "mean_confidence"), ("changed", "changed"))
        }
        temperature = self._inserted.search.phase.inverse_temperature
        self._write(self._recording.add, "step", {
            "step": state.step, "search": self._search, "output_loss": state.output_loss,
            "layer_loss": state.layer_loss, "inverse_temperature": temperature, **means,
            "layers": layer_numbers(layers, searched),
        })  # fmt: skip
        self._codes = self._codes_now()

    def finish(self, rows: Sequence[Row], interrupted: bool, search: str | None) -> None:
        """Record the networks, and that the run has ended with one of its searches."""
        if self._recording is not None:
            for row in rows:
                self._network(row.name, row)
            self._write(self._recording.describe, self._of_searches[search])
            self._write(self._recording.finish, interrupted, search)
            self._recording.end()

    def file(self, row: Row, path: Path, stripped: nn.Module, samples: Arguments) -> None:
        """Record an exported IR, and how it compares with PyTorch on some samples."""
        if self._recording is None or self._folder is None:
            return
        seen = Path(os.path.relpath(path, self._folder)).as_posix()
        self._network("IR", row, file=seen)
        try:
            tensors = tuple(x for x in tree_leaves(samples) if isinstance(x, Tensor))
            found = verify_openvino(stripped, path, tensors)
        except SLBError:  # of a network whose outputs do not count samples, which has no such comparison
            return
        self._write(self._recording.verification, found.to_dict())

    def latency(self, name: str, milliseconds: float) -> None:
        """Record the latency of ``float`` or ``IR``."""
        if self._recording is not None:
            self._write(self._recording.network, name, milliseconds=milliseconds)

    def _network(self, name: str, row: Row, **more: Any) -> None:
        assert self._recording is not None
        near = {} if row.agreement is None else {"agreement": row.agreement.value, "unit": row.agreement.unit}
        scores = {} if row.score is None else {"own": row.score}
        self._write(self._recording.network, name, scores=scores, bytes=row.bytes, **near, **more)

    def _codes_now(self) -> dict[Any, Tensor]:
        return {weight: weight.codes() for weight in self._inserted.searched.values()}

    def _write(self, write: Any, *args: Any, **kwargs: Any) -> None:
        try:
            write(*args, **kwargs)
        except OSError as error:
            raise SettingError(
                f"log_dir: received {printable(self._folder)}, where nothing can be written "
                f"({error.strerror or error}); allowed is a folder with room"
            ) from error
