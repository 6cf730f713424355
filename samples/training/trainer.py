"""Training, evaluation and export of one run."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import nncf_slb
from nncf_slb.hosts.config_check import refused_by_nncf
from nncf_slb.search.finite import refuse_not_finite
from samples.training import checkpoint
from samples.training.hosts import for_host
from samples.training.optimizers import Optimizers
from samples.training.processes import Processes
from samples.training.progress import Log, track
from samples.training.quiet import quieten
from samples.training.settings import Settings, SettingsError, Task


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says where it stopped and what to do."""


_RUN_KEYS = ("model", "optimizers", "epoch", "best", "compression_state", "rng", "config")
# Settings that a resumed run may change; all others decide what network it is and how it is trained.
_MAY_CHANGE = {"epochs", "batch_size", "seed", "dataset", "num_classes", "input_info", "test_data", "strict"}


class Trainer(ABC):
    """One run: a float network, or a compressed one where the config has a ``compression`` section.

    A task's own class says how data is loaded, what a network is made from, and what loss and score are.

    Args:
        settings: Checked settings.
        processes: This process among those that train together.
    """

    task: ClassVar[Task]
    score_name: ClassVar[str]  # in metrics.jsonl, behind "val_"
    score_format: ClassVar[str]  # of a score, in text
    any_size: ClassVar[bool] = False  # whether networks are exported for images of any height and width

    def __init__(self, settings: Settings, processes: Processes | None = None) -> None:
        quieten()
        self.settings, self.config = settings, settings.config
        self.processes = processes or Processes()
        self.device = torch.device(self.processes.device(settings.device))
        self.seed = int(self.config.get("seed", 0))
        torch.manual_seed(self.seed)
        self.splits = self._load_data()
        self.train_batches = self._loader("train")
        resumed = self._load_run(settings.resume) if settings.resume else None
        self.model = self._make_network()
        self.ctrl: Any = None
        if settings.compressed:
            self._compress(resumed["compression_state"] if resumed else None)
        self.trained: nn.Module = self.processes.wrap(self.model)
        self.optimizers = Optimizers(self.model, self.config)
        self.log = Log(settings.log_dir, self.processes.first)
        self.epoch, self.best = 0, -1.0
        if resumed:
            self._restore(resumed)

    @abstractmethod
    def _load_data(self) -> Any:
        """Parts of the data: ``loader(part, batch_size, seed, workers, rank, world)`` and ``image_shape``."""

    @abstractmethod
    def _network_arguments(self) -> dict[str, Any]:
        """Arguments of the network beside the config's ``model_params``."""

    @abstractmethod
    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of a batch."""

    @abstractmethod
    def evaluate(self, batches: Any, text: str = "evaluation") -> float:
        """Score on all batches, the higher the better."""

    def _loader(self, part: str) -> Any:
        sharing = {"rank": self.processes.rank, "world": self.processes.world} if part == "train" else {}
        return self.splits.loader(
            part, self.config["batch_size"], seed=self.seed, workers=self.settings.workers, **sharing
        )

    def _make_network(self) -> nn.Module:
        make = self.task.models[self.config["model"]]
        network = make(**self._network_arguments(), **self.config.get("model_params", {}))
        if self.settings.weights:
            network.load_state_dict(checkpoint.load(self.settings.weights)["model"])
        # Channels last takes 30 % off a training step on the CPU. Set before compression: logits have five dimensions.
        return network.to(self.device, memory_format=torch.channels_last)

    def _compress(self, state: dict[str, Any] | None) -> None:
        config = for_host({**self.config, "log_dir": str(self.settings.log_dir)}, self.settings.host)
        config.setdefault("input_info", {"sample_size": [1, *self.splits.image_shape]})
        try:
            self.ctrl, self.model = nncf_slb.create_compressed_model(
                self.model, config, self.train_batches, compression_state=state, host=self.settings.host
            )
        except Exception as error:
            origin = type(error).__module__
            # Errors of slb name the setting; NNCF's own, which share no class, and ValueErrors are told in one line.
            if origin.startswith("nncf_slb.") or not (origin.startswith("nncf.") or isinstance(error, ValueError)):
                raise
            raise SettingsError.of(refused_by_nncf(self.config, str(error))) from error
        if self.processes.world > 1:
            self.ctrl.distributed()

    def _load_run(self, path: Path) -> dict[str, Any]:
        """Checkpoint of a run with this config; a SettingsError names every setting of another's."""
        state = checkpoint.load(path, _RUN_KEYS)
        found = json.loads(state["config"])
        differing = [
            f"  {name}: the run had {found.get(name)!r}; received {self.config.get(name)!r}"
            for name in sorted((set(found) | set(self.config)) - _MAY_CHANGE)
            if found.get(name) != self.config.get(name)
        ]
        if differing:
            lines = "\n".join(differing)
            raise SettingsError(
                f"resume: '{path}' is of a run with other settings; go on with its own, or begin anew in another "
                f"--log-dir:\n{lines}"
            )
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:  # torch's, of names and shapes
            raise checkpoint.CheckpointError(
                f"checkpoint: '{self.settings.resume}' does not fit the network of this config. {error}"
            ) from error
        refuse_not_finite(self.model)
        self.optimizers.load_state_dict(state["optimizers"])
        self.epoch, self.best = state["epoch"], state["best"]
        torch.set_rng_state(state["rng"])

    def _save(self, name: str) -> None:
        if self.processes.first:
            state = {
                "model": self.model.state_dict(),
                "optimizers": self.optimizers.state_dict(),
                "epoch": self.epoch,
                "best": self.best,
                "compression_state": self.ctrl.get_compression_state() if self.ctrl else None,
                "rng": torch.get_rng_state(),
                "config": json.dumps(self.config),
            }
            checkpoint.save(state, self.settings.log_dir / name)

    @property
    def last(self) -> Path:
        """Checkpoint of the last completed epoch."""
        return self.settings.log_dir / "last.pth"

    def fit(self) -> Path:
        """Train up to the configured epochs; returns the best checkpoint by validation score."""
        epochs, batches = self.config["epochs"], self._loader("val")
        self._save("last.pth")
        while self.epoch < epochs:
            rate = self.optimizers.set_epoch(self.epoch)
            loss = self._train_epoch(f"epoch {self.epoch + 1}/{epochs}")
            refuse_not_finite(self.model)  # before it takes the place of the last good checkpoint
            score = self.evaluate(batches, "validation")
            worth = self.ctrl is None or self.ctrl.compression_stage() == nncf_slb.CompressionStage.FULLY_COMPRESSED
            self.epoch += 1
            shown = self.score_format.format(score)
            self.log.line(f"epoch {self.epoch}/{epochs}  loss {loss:.4f}  validation {shown}  lr {rate:.4g}")
            numbers = {"loss": loss, f"val_{self.score_name}": score, "lr": rate, **self._search_numbers()}
            self.log.epoch(self.epoch, numbers)
            if worth and score > self.best:
                self.best = score
                self._save("best.pth")
            self._save("last.pth")
        best = self.settings.log_dir / "best.pth"
        return best if best.exists() else self.last

    def _search_numbers(self) -> dict[str, Any]:
        search = getattr(self.ctrl.statistics(), "slb", None) if self.ctrl else None
        if search is None:
            return {}
        weights = sum(layer.weights for layer in search.layers)
        means = {
            name: sum(getattr(layer, field) * layer.weights for layer in search.layers) / weights
            for name, field in (("confidence", "mean_confidence"), ("changed", "changed"))
        }
        histogram = [
            sum(layer.confidence_histogram[part] * layer.weights for layer in search.layers) / weights
            for part in range(len(search.layers[0].confidence_histogram))
        ]
        return {"inverse_temperature": search.inverse_temperature, **means, "confidence_histogram": histogram}

    def _train_epoch(self, text: str) -> float:
        self.trained.train()
        self.train_batches.set_epoch(self.epoch)
        if self.ctrl:
            self.ctrl.scheduler.epoch_step()
        total = 0.0
        batches = track(self.train_batches, len(self.train_batches), text, self.processes.first)
        for step, (inputs, targets) in enumerate(batches):
            if self.ctrl:
                self.ctrl.scheduler.step()
            loss = self._loss(self.trained(inputs.to(self.device)), targets.to(self.device))
            if self.ctrl:
                loss = loss + self.ctrl.loss()
            number = float(loss.detach())
            if not math.isfinite(number):
                raise TrainingError(
                    f"{text}, step {step + 1}: the loss is {number}, so training stopped. '{self.last}' holds the last "
                    f"good epoch, {self.epoch}. Lower the learning rate, or look for such numbers in the data"
                )
            self.optimizers.step(loss)
            total += number
        return total / len(self.train_batches)

    @torch.no_grad()
    def outputs(self, batches: Any, text: str = "evaluation") -> list[tuple[Tensor, Tensor]]:
        """Outputs and targets of each batch, on the CPU, in evaluation mode."""
        self.model.eval()
        return [
            (self.model(inputs.to(self.device)).cpu(), targets)
            for inputs, targets in track(batches, len(batches), text, self.processes.first)
        ]

    def test(self) -> float:
        """Score on the test part."""
        return self.evaluate(self._loader("test"), "test")

    def show_test(self) -> None:
        """Test and print what came of it."""
        self.log.line(f"test {self.score_format.format(self.test())}")

    def test_batches(self) -> Any:
        """Batches of the test part."""
        return self._loader("test")

    def export(self, path: Path) -> Path:
        """Write OpenVINO IR or ONNX, by the suffix: packed weights for a searched network, float weights otherwise."""
        example = torch.zeros(1, *self.splits.image_shape, device=self.device)
        shape = [-1, example.shape[1], -1, -1] if self.any_size else None
        if self.ctrl:
            shapes = None if shape is None else [shape]
            return nncf_slb.export_openvino(self.ctrl, path, example_input=example, input_shapes=shapes)
        return export_float(self.model, path, example, shape)


def export_float(model: nn.Module, path: Path, example: Tensor, shape: list[int] | None = None) -> Path:
    """OpenVINO IR of a float network; -1 in its input's `shape` is any size, by default that of the batch."""
    import openvino as ov

    model.eval()
    shape = shape or [-1, *example.shape[1:]]
    converted = ov.convert_model(model, example_input=example, input=[ov.PartialShape(shape)])
    ov.save_model(converted, path, compress_to_fp16=False)
    return path
