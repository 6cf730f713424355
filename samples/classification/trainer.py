"""Training, evaluation and export of one run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from nncf import NNCFConfig
from nncf.api.compression import CompressionStage
from nncf.torch import create_compressed_model, register_default_init_args
from torch import Tensor, nn

import nncf_slb
from samples.classification import checkpoint
from samples.classification.datasets import DATASETS
from samples.classification.models import MODELS
from samples.classification.optimizers import Optimizers
from samples.classification.processes import Processes
from samples.classification.progress import Log, track
from samples.classification.quiet import quieten
from samples.classification.settings import Settings

_RUN_KEYS = ("model", "optimizers", "epoch", "best", "compression_state", "rng")


class Trainer:
    """One run: a float network, or a compressed one where the config has a ``compression`` section.

    Args:
        settings: Checked settings.
        processes: This process among those that train together.
    """

    def __init__(self, settings: Settings, processes: Processes | None = None) -> None:
        quieten()
        self.settings, self.config = settings, settings.config
        self.processes = processes or Processes()
        self.device = torch.device(self.processes.device(settings.device))
        self.log = Log(settings.log_dir, self.processes.first)
        self.seed = int(self.config.get("seed", 0))
        torch.manual_seed(self.seed)
        self.splits = DATASETS[self.config["dataset"]](settings.data)
        self.train_batches = self._loader("train")
        resumed = checkpoint.load(settings.resume, _RUN_KEYS) if settings.resume else None
        self.model = self._make_network()
        self.ctrl: Any = None
        if settings.compressed:
            self._compress(resumed["compression_state"] if resumed else None)
        self.trained: nn.Module = self.processes.wrap(self.model)
        self.optimizers = Optimizers(self.model, self.config)
        self.epoch, self.best = 0, -1.0
        if resumed:
            self._restore(resumed)

    def _loader(self, part: str) -> Any:
        sharing = {"rank": self.processes.rank, "world": self.processes.world} if part == "train" else {}
        return self.splits.loader(
            part, self.config["batch_size"], seed=self.seed, workers=self.settings.workers, **sharing
        )

    def _make_network(self) -> nn.Module:
        network = MODELS[self.config["model"]](
            num_classes=self.splits.num_classes, **self.config.get("model_params", {})
        )
        if self.settings.weights:
            network.load_state_dict(checkpoint.load(self.settings.weights)["model"])
        # Channels last takes 30 % off a training step on the CPU. Set before compression: logits have five dimensions.
        return network.to(self.device, memory_format=torch.channels_last)

    def _compress(self, state: dict[str, Any] | None) -> None:
        nncf_config = NNCFConfig.from_dict({**copy.deepcopy(self.config), "log_dir": str(self.settings.log_dir)})
        nncf_config.setdefault("input_info", {"sample_size": [1, *self.splits.image_shape]})
        nncf_config = register_default_init_args(nncf_config, self.train_batches, device=str(self.device))
        self.ctrl, self.model = create_compressed_model(
            self.model, nncf_config, compression_state=state, dump_graphs=False
        )
        if self.processes.world > 1:
            self.ctrl.distributed()

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
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
            }
            checkpoint.save(state, self.settings.log_dir / name)

    @property
    def last(self) -> Path:
        """Checkpoint of the last completed epoch."""
        return self.settings.log_dir / "last.pth"

    def fit(self) -> Path:
        """Train up to the configured epochs; returns the best checkpoint by validation accuracy."""
        epochs, batches = self.config["epochs"], self._loader("val")
        self._save("last.pth")
        while self.epoch < epochs:
            rate = self.optimizers.set_epoch(self.epoch)
            loss = self._train_epoch(f"epoch {self.epoch + 1}/{epochs}")
            top1 = self.evaluate(batches, "validation")
            worth = self.ctrl is None or self.ctrl.compression_stage() == CompressionStage.FULLY_COMPRESSED
            self.epoch += 1
            self.log.line(f"epoch {self.epoch}/{epochs}  loss {loss:.4f}  validation top-1 {top1:.2f}%  lr {rate:.4g}")
            self.log.epoch(self.epoch, {"loss": loss, "val_top1": top1, "lr": rate, **self._search_numbers()})
            if worth and top1 > self.best:
                self.best = top1
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
        for images, labels in track(self.train_batches, len(self.train_batches), text, self.processes.first):
            if self.ctrl:
                self.ctrl.scheduler.step()
            loss = nn.functional.cross_entropy(self.trained(images.to(self.device)), labels.to(self.device))
            if self.ctrl:
                loss = loss + self.ctrl.loss()
            self.optimizers.step(loss)
            total += float(loss.detach())
        return total / len(self.train_batches)

    def evaluate(self, batches: Any, text: str = "evaluation") -> float:
        """Top-1 accuracy in per cent."""
        return top1(*self.predict(batches, text))

    @torch.no_grad()
    def predict(self, batches: Any, text: str = "evaluation") -> tuple[Tensor, Tensor]:
        """Logits and labels of all batches, on the CPU, in evaluation mode."""
        self.model.eval()
        pairs = [
            (self.model(images.to(self.device)).cpu(), labels)
            for images, labels in track(batches, len(batches), text, self.processes.first)
        ]
        logits, labels = zip(*pairs, strict=True)
        return torch.cat(logits), torch.cat(labels)

    def test(self) -> float:
        """Top-1 accuracy on the test part, in per cent."""
        return self.evaluate(self._loader("test"), "test")

    def test_batches(self) -> Any:
        """Batches of the test part."""
        return self._loader("test")

    def export(self, path: Path) -> Path:
        """Write OpenVINO IR or ONNX, by the suffix: packed weights for a searched network, float weights otherwise."""
        example = torch.zeros(1, *self.splits.image_shape, device=self.device)
        if self.ctrl:
            return nncf_slb.export_openvino(self.ctrl, path, example_input=example)
        return export_float(self.model, path, example)


def top1(logits: Tensor, labels: Tensor) -> float:
    """Share of right first choices, in per cent; logits ``[count, classes]``, labels ``[count]``."""
    return float((logits.argmax(1) == labels).double().mean() * 100)


def export_float(model: nn.Module, path: Path, example: Tensor) -> Path:
    """OpenVINO IR of a float network with a dynamic batch dimension."""
    import openvino as ov

    model.eval()
    shape = ov.PartialShape([-1, *example.shape[1:]])
    ov.save_model(ov.convert_model(model, example_input=example, input=[shape]), path, compress_to_fp16=False)
    return path
