"""Training, evaluation and export of one run."""

from __future__ import annotations

import json
import math
import shutil
from abc import ABC, abstractmethod
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import nncf_slb
from nncf_slb.files import new_file
from nncf_slb.hosts.config_check import refused_by_nncf
from nncf_slb.hosts.quiet import quieten
from nncf_slb.reports.facts import Score
from nncf_slb.search.finite import refuse_not_finite
from samples.training import checkpoint, interruption
from samples.training.bars import Bars
from samples.training.float_network import export_float, load_weights
from samples.training.hosts import for_host
from samples.training.measuring import measure_start
from samples.training.optimizers import Optimizers
from samples.training.processes import Processes
from samples.training.progress import Log
from samples.training.run_facts import run_facts
from samples.training.run_folder import held
from samples.training.saving import SaveEvery
from samples.training.searched import codes_of, search_numbers, search_text
from samples.training.settings import Settings, SettingsError, Task
from samples.training.state import (
    VERSION,
    RunState,
    network_problems,
    other_settings,
    position_problems,
    read_run,
    refuse_too_few_epochs,
)


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says where it stopped and what to do."""


class Trainer(ABC):
    """One run: a float network, or a compressed one where the config has a ``compression`` section.

    A task's own class says how data is loaded, what a network is made from, and what loss and score are.

    Args:
        settings: Checked settings.
        processes: This process among those that train together.
    """

    task: ClassVar[Task]
    score_name: ClassVar[str]  # in metrics.jsonl, behind "val_"
    score: ClassVar[Score]
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
        self.train_batches = self.loader("train")
        if not len(self.train_batches):
            raise SettingsError(f"processes: received {self.processes.world}, for fewer training images; use fewer")
        resumed = self._load_run(settings.resume) if settings.resume else None
        self.model = self.make_network()
        self.ctrl: Any = None
        if settings.compressed:
            self._compress(resumed.compression_state if resumed else None)
        self.trained: nn.Module = self.processes.wrap(self.model)
        self.optimizers = Optimizers(self.model, self.config)
        self.log, self.bars = Log(settings.log_dir, self.processes.first), Bars(self.processes.first)
        self.epoch, self.step, self.best = 0, 0, -1.0
        self._loss_sum, self._codes_before = 0.0, codes_of(self.model)
        self._found: tuple[float | None, str] = (None, "")  # confidence and score after the last epoch, for people
        self._save_every, self._interruption = SaveEvery(settings.save_every), interruption.Interruption()
        if settings.resume and resumed:
            self._restore(settings.resume, resumed)
        self.saved, self._resumed = self._place(), resumed

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

    def loader(self, part: str) -> Any:
        """Batches of a part of the data: ``train``, ``val`` or ``test``."""
        sharing = {"rank": self.processes.rank, "world": self.processes.world} if part == "train" else {}
        return self.splits.loader(
            part, self.config["batch_size"], seed=self.seed, workers=self.settings.workers, **sharing
        )

    def make_network(self) -> nn.Module:
        """The float network that the run begins from."""
        make = self.task.models[self.config["model"]]
        network = make(**self._network_arguments(), **self.config.get("model_params", {}))
        if self.settings.weights:
            load_weights(network, self.settings.weights)
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

    def _load_run(self, path: Path) -> RunState:
        """Checkpoint of a run with this config; a SettingsError names every setting of another's."""
        state = read_run(path)
        if differing := other_settings(state, self.config):
            lines = "\n".join(f"  {line}" for line in differing)
            raise SettingsError(
                f"resume: '{path}' is of a run with other settings; go on with its own, or begin anew in another "
                f"--log-dir:\n{lines}"
            )
        problems = position_problems(state, self.config, self.processes.world, len(self.train_batches))
        if problems:
            raise checkpoint.refused(path, problems)
        return state

    def _restore(self, path: Path, state: RunState) -> None:
        problems = network_problems(state.model, self.model)
        begun = state.epoch > 0 or state.position is not None
        problems = problems or self.optimizers.load_state_dict(state.optimizers, begun)
        if state.position is not None:
            shapes = [codes.shape for codes in self._codes_before]
            if [codes.shape for codes in state.position.codes] != shapes:
                problems.append("position.codes are those of another network")
        if problems:
            raise checkpoint.refused(path, problems)
        self.model.load_state_dict(state.model)
        self.epoch, self.best = state.epoch, state.best
        if state.position is not None:
            self.step, self._loss_sum = state.position.step, state.position.loss_sum
            self._codes_before = [codes.to(self.device) for codes in state.position.codes]
        torch.set_rng_state(state.rng)
        self.train_batches.set_epoch(self.epoch if self.step else max(0, self.epoch - 1))

    def _save(self, name: str) -> None:
        if self.processes.first:
            position = {
                "step": self.step, "loss_sum": self._loss_sum, "processes": self.processes.world,
                "codes": self._codes_before,
            }  # fmt: skip
            state = {
                "version": VERSION,
                "model": self.model.state_dict(),
                "optimizers": self.optimizers.state_dict(),
                "epoch": self.epoch,
                "position": position if self.step else None,
                "best": self.best,
                "compression_state": self.ctrl.get_compression_state() if self.ctrl else None,
                "rng": torch.get_rng_state(),
                "config": json.dumps(self.config),
            }
            checkpoint.save(state, self.settings.log_dir / name)

    def _save_last(self) -> None:
        self._save("last.pth")
        self._save_every.saved()
        self.saved = self._place()

    def _place(self) -> str:
        return f"epoch {self.epoch}" if self.step == 0 else f"step {self.step} of epoch {self.epoch + 1}"

    @property
    def last(self) -> Path:
        """Checkpoint from which the run goes on."""
        return self.settings.log_dir / "last.pth"

    def fit(self) -> Path:
        """Train up to the configured epochs; returns the best checkpoint by validation score.

        Raises:
            samples.training.interruption.Interrupted: After Ctrl-C or SIGTERM, when all training so far is saved.
            samples.training.settings.SettingsError: If the config has too few epochs for a resumed run.
            samples.training.run_folder.FolderError: If nothing can be written to the log folder, or another run does.
            TrainingError: If training cannot go on.
        """
        if self._resumed:
            refuse_too_few_epochs(self._resumed, self.config["epochs"])
            self._resumed = None  # it holds a network
        folder = held(self.settings.log_dir) if self.processes.first else nullcontext()
        with folder, interruption.noted(twice=self.processes.world == 1) as self._interruption:
            try:
                self._begin()
                steps = len(self.train_batches)
                with self.bars.training(self.config["epochs"] * steps, self.epoch * steps + self.step):
                    self._train()
                if self.best > -1:  # of an epoch whose network was discrete
                    self.log.network(self.own_name, scores={"validation": self.best})
                self.log.finish()
            except OSError as error:
                raise TrainingError(
                    f"'{error.filename or self.settings.log_dir}' cannot be written ({error.strerror or error}), so "
                    f"training stopped. '{self.last}' holds {self.saved}. Make room, then go on with --resume"
                ) from error
            finally:
                self.log.end()
        self.processes.wait()  # until the first one has written it
        best = self.settings.log_dir / "best.pth"
        return best if best.exists() else self.last

    def _begin(self) -> None:
        """Make the folder that of this run: a new one takes the place of a former one."""
        if self.processes.first:
            self._begin_files()
        if self.settings.resume is None:
            measure_start(self)

    def _begin_files(self) -> None:
        best, resumed = self.settings.log_dir / "best.pth", self.settings.resume
        if resumed is None:
            best.unlink(missing_ok=True)
        elif not best.exists() and (resumed.parent / "best.pth").exists():  # from another folder
            with new_file(best) as partial:
                shutil.copyfile(resumed.parent / "best.pth", partial)
        facts = run_facts(self.config, self.score, str(self.device), self.ctrl)
        self.log.begin(facts, self.epoch, fresh=resumed is None)
        if resumed is None or not (self.last.exists() and self.last.samefile(resumed)):
            self._save_last()

    def _train(self) -> None:
        epochs, batches = self.config["epochs"], self.loader("val")
        while self.epoch < epochs:
            rate = self.optimizers.set_epoch(self.epoch)
            loss = self._train_epoch(f"epoch {self.epoch + 1}/{epochs}")
            refuse_not_finite(self.model)  # before it takes the place of the last good checkpoint
            score = self.evaluate(batches, "validation")
            worth = self.ctrl is None or self.ctrl.compression_stage() == nncf_slb.CompressionStage.FULLY_COMPRESSED
            self.epoch, self.step = self.epoch + 1, 0
            found = search_numbers(self.ctrl, codes_of(self.model), self._codes_before)
            self._found = found.get("confidence"), self.score_format.format(score)
            text = search_text(self.model, *self._found)
            self.log.line(f"epoch {self.epoch}/{epochs}  loss {loss:.4f}  {text}  lr {rate:.4g}")
            self.log.epoch(self.epoch, {"loss": loss, f"val_{self.score_name}": score, "lr": rate, **found})
            if worth and score > self.best:
                self.best = score
                self._save("best.pth")
            self._save_last()
            if self._is_interrupted():
                raise self._interruption.error()

    def _train_epoch(self, text: str) -> float:
        """Train to the end of the epoch that the run is in; returns its mean loss."""
        self.trained.train()
        self.train_batches.set_epoch(self.epoch)
        if self.step == 0:
            if self.ctrl:
                self.ctrl.scheduler.epoch_step()
            self._loss_sum, self._codes_before = 0.0, codes_of(self.model)
        total = len(self.train_batches)
        for batch in self.train_batches.rest(self.step):
            self._loss_sum += self._train_step(*batch, text)
            self.step += 1
            if self.bars.visible:
                self.bars.step(text, search_text(self.model, *self._found))
            interrupted = self._is_interrupted()
            if interrupted or self._save_every.is_due(self.step):
                refuse_not_finite(self.model)
                self._save_last()
            if interrupted:
                raise self._interruption.error()
        return self._loss_sum / total

    def _is_interrupted(self) -> bool:
        return self.processes.any(self._interruption.number is not None, self.device)

    def _train_step(self, inputs: Tensor, targets: Tensor, text: str) -> float:
        if self.ctrl:
            self.ctrl.scheduler.step()
        loss = self._loss(self.trained(inputs.to(self.device)), targets.to(self.device))
        if self.ctrl:
            loss = loss + self.ctrl.loss()
        number = float(loss.detach())
        if not math.isfinite(number):
            raise TrainingError(
                f"{text}, step {self.step + 1}: the loss is {number}, so training stopped. '{self.last}' holds the "
                f"last good network, {self.saved}. Lower the learning rate, or look for such numbers in the data"
            )
        self.optimizers.step(loss)
        return number

    @torch.no_grad()
    def outputs(self, batches: Any, text: str = "evaluation") -> list[tuple[Tensor, Tensor]]:
        """Outputs and targets of each batch, on the CPU, in evaluation mode."""
        self.model.eval()
        return [
            (self.model(inputs.to(self.device)).cpu(), targets)
            for inputs, targets in self.bars.track(batches, len(batches), text)
        ]

    def test(self) -> float:
        """Score on the test part."""
        return self.evaluate(self.loader("test"), "test")

    def show_test(self) -> None:
        """Test and print what came of it."""
        score = self.test()
        self.log.line(f"test {self.score_format.format(score)}")
        self.log.network(self.own_name, scores={"test": score})

    @property
    def own_name(self) -> str:
        """What a report calls the network."""
        return "float" if self.ctrl is None else "searched"

    def test_batches(self) -> Any:
        """Batches of the test part."""
        return self.loader("test")

    def export(self, path: Path) -> Path:
        """Write OpenVINO IR or ONNX, by the suffix: packed weights for a searched network, float weights otherwise."""
        if self.ctrl is None:
            return export_float(self.model, path, self._example, self._free_shape)
        shapes = None if self._free_shape is None else [self._free_shape]
        return nncf_slb.export_openvino(self.ctrl, path, example_input=self._example, input_shapes=shapes)

    def export_float(self, path: Path) -> Path:
        """Write the float network that the run begins from as OpenVINO IR."""
        with torch.random.fork_rng():
            return export_float(self.make_network(), path, self._example, self._free_shape)

    @property
    def _example(self) -> Tensor:
        return torch.zeros(1, *self.splits.image_shape, device=self.device)

    @property
    def _free_shape(self) -> list[int] | None:
        return [-1, self.splits.image_shape[0], -1, -1] if self.any_size else None
