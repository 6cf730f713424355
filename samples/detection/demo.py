"""A detector of drawn shapes, then its weights in 4, 2 and 1 bits without labels: python -m samples.detection.demo."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import nn

import nncf_slb
from nncf_slb.files import new_file
from nncf_slb.tables import markdown_table, terminal_table
from samples.detection.metrics import mean_average_precision
from samples.detection.network import Detector, detections, loss, targets
from samples.detection.shapes import drawn_shapes
from samples.training.machine import machine
from samples.training.progress import console
from samples.training.terminal import exit_status

_TRAINING, _TEST, _UNLABELED, _STEPS = 3000, 500, 2400, 400
_BITS = (4, 2, 1)
_HEADER = ["network", "mAP at 0.5, %", "nearest values, %", ".bin bytes", "times smaller"]


def train_detector(images: int, epochs: int, seed: int = 0) -> nn.Module:
    """A float detector.

    Args:
        images: Number of training images.
        epochs: Passes over them.
        seed: Of the weights, the images and their order.
    """
    torch.manual_seed(seed)
    drawn, objects = drawn_shapes(images, seed)
    wanted = targets(objects)
    detector = Detector()
    steps = epochs * -(-images // 100)
    optimizer = torch.optim.Adam(detector.parameters(), 0.003)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(images).split(100):
            optimizer.zero_grad()
            loss(detector(drawn[rows]), *(part[rows] for part in wanted)).backward()
            optimizer.step()
            schedule.step()
    return detector.eval()


def score_on(images: int, seed: int) -> Callable[[nn.Module], float]:
    """Function that gives a detector's mean average precision, in %, on new images."""
    drawn, objects = drawn_shapes(images, seed)

    @torch.no_grad()
    def score(network: nn.Module) -> float:
        return mean_average_precision(detections(network(drawn)), objects)

    return score


def run_demo(log_dir: Path, training: int = _TRAINING, epochs: int = 12, steps: int = _STEPS) -> Path:
    """Train, search, export, compare.

    Args:
        log_dir: Folder of the files and of the table.
        training: Images to train with.
        epochs: Epochs of the float detector.
        steps: Steps of each search.

    Returns:
        Path of the Markdown table.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    console.print("a float detector, trained with boxes", highlight=False)
    detector = train_detector(training, epochs)
    unlabeled, _ = drawn_shapes(_UNLABELED, seed=1)
    score = score_on(_TEST, seed=2)
    rows: list[list[str]] = []
    for bits in _BITS:
        console.print(f"{bits}-bit weights, from {len(unlabeled)} images without boxes", highlight=False)
        found = nncf_slb.search_post_training(detector, unlabeled, bits=bits, steps=steps, score=score)
        found.export(log_dir / f"w{bits}.xml")
        full, nearest, _, low = found.rows
        if not rows:
            float_bytes = found.export_float(log_dir / "float.xml").with_suffix(".bin").stat().st_size
            rows.append(["float", f"{full.score:.1f}", "", f"{float_bytes:,}", "1.0"])
        name = f"{bits} bit{'s' if bits > 1 else ''}"
        rows.append(
            [name, f"{low.score:.1f}", f"{nearest.score:.1f}", f"{low.bytes:,}", f"{float_bytes / low.bytes:.1f}"]
        )
    note = f"{machine()}, {date.today()}; {_TEST} test images; low-bit: the files, loaded in OpenVINO"
    console.print(terminal_table(_HEADER, rows, "lrrrr"), highlight=False, soft_wrap=True, markup=False)
    console.print(note, highlight=False, soft_wrap=True, markup=False)
    table = log_dir / "results.md"
    with new_file(table) as partial:
        partial.write_text(f"{markdown_table(_HEADER, rows, 'lrrrr')}\n\n{note}\n")
    return table


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log-dir", type=Path, default=Path("runs/detection"))
    log_dir = parser.parse_args().log_dir
    return exit_status(lambda: run_demo(log_dir))


if __name__ == "__main__":
    sys.exit(main())
