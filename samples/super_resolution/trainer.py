"""Training of super-resolution networks: L1 or squared error, PSNR of whole images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import nncf_slb  # noqa: F401  before anything that imports nncf.torch

# isort: split
from nncf.torch.quantization.layers import SymmetricQuantizer
from torch import Tensor, nn

from nncf_slb.reports.facts import Score
from samples.super_resolution.config import TASK
from samples.super_resolution.datasets import DATASETS, Sources, Splits
from samples.super_resolution.metrics import quality
from samples.super_resolution.pairs import make_pair
from samples.super_resolution.report import Report, Row, bicubic
from samples.training.settings import Task
from samples.training.trainer import Trainer

LOSSES = {"l1": nn.functional.l1_loss, "mse": nn.functional.mse_loss}


def keep_input_range(model: nn.Module) -> None:
    """Fix the range of NNCF's quantizer of the network's input at [0, 1], where 8-bit images pass exactly.

    NNCF begins with the mean of some patches' largest values and trains it: highlights were cut off at 0.57 in the
    beginning and at 0.90 in the end, which cost 0.05 dB (measured: ESPCN, scale 2, W4A8, validation).
    """
    for name, module in model.named_modules():
        if "nncf_model_input" in name and isinstance(module, SymmetricQuantizer):
            module.scale.data.fill_(1.0)
            module.scale.requires_grad_(False)


class SuperResolution(Trainer):
    """One run; scores are the mean PSNR in dB, as in `metrics`."""

    task: ClassVar[Task] = TASK
    score_name: ClassVar[str] = "psnr"
    score: ClassVar[Score] = Score(name="PSNR", unit="dB")
    score_format: ClassVar[str] = "PSNR {:.2f} dB"
    any_size: ClassVar[bool] = True

    def _load_data(self) -> Splits:
        config = self.config
        sources = Sources(
            config["scale"], config["channels"], config["patch_size"], config["patches"], self.settings.data,
            tuple(Path(each) for each in config.get("test_data", ())), config.get("strict", False),
        )  # fmt: skip
        return DATASETS[config["dataset"]](sources)

    def _network_arguments(self) -> dict[str, Any]:
        return {"scale": self.config["scale"], "channels": self.config["channels"]}

    def _compress(self, state: dict[str, Any] | None) -> None:
        super()._compress(state)
        keep_input_range(self.model)

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return LOSSES[self.config["loss"]](outputs, targets)

    def evaluate(self, batches: Any, text: str = "evaluation") -> float:
        """Mean PSNR of whole images in dB."""
        found = self.qualities(batches, text)
        return sum(psnr for psnr, _ in found) / len(found)

    def show_test(self) -> None:
        """Print PSNR and SSIM of each set of test images beside bicubic, and write ``test.md`` with every image."""
        ours = self.qualities(self.test_batches())
        if not self.processes.first:
            return
        self.log.network(self.own_name, scores={"test": sum(psnr for psnr, _ in ours) / len(ours)})
        config = self.config
        originals = self.splits.originals["test"]
        pairs = [make_pair(original, config["scale"], config["channels"]) for original in originals]
        found = dict(zip([pair.name for pair in pairs], ours, strict=True))
        rows = [bicubic(pairs, config["scale"]), Row(config["model"], found)]
        report = Report(f"test, scale {config['scale']}", rows)
        report.show(self.settings.log_dir / "test.md")

    def qualities(self, batches: Any, text: str = "evaluation") -> list[tuple[float, float]]:
        """PSNR in dB and SSIM of each image."""
        pairs = self.outputs(batches, text)
        return [quality(ours[0].numpy(), truth[0].numpy(), self.config["scale"]) for ours, truth in pairs]
