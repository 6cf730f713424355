"""From a float network to a reported low-bit IR of any image size, on photographs that installed packages bring."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path

import nncf

import nncf_slb  # before anything that imports nncf.torch
from nncf_slb.openvino.export import save_ir
from nncf_slb.openvino.ir import read_ir
from nncf_slb.reports.page import write_report
from samples.super_resolution.pairs import make_pair, to_values
from samples.super_resolution.pictures import crop_sheet
from samples.super_resolution.recipes import PAIRS, RECIPES
from samples.super_resolution.report import Quality, Report, Row, bicubic, in_openvino, timed
from samples.super_resolution.trainer import SuperResolution
from samples.training.machine import machine
from samples.training.measuring import measure_file
from samples.training.progress import console
from samples.training.settings import Settings, check
from samples.training.terminal import exit_status

CALIBRATION_IMAGES = 100
TIMED_SIZE = 256  # height and width of the low-resolution image that speed is measured on


def make_trainer(
    name: str, scale: int, folder: Path, weights: Path | None = None, resume: Path | None = None
) -> SuperResolution:
    """Trainer of a recipe at a scale, at the last completed epoch of its folder, or at `resume`."""
    last = folder / "last.pth"
    resume = resume or (last if last.exists() else None)
    config = {**RECIPES[name], "scale": scale}
    settings = Settings(config, folder, None, weights, resume)
    check(settings, SuperResolution.task)
    return SuperResolution(settings)


def qualities(trainer: SuperResolution) -> dict[str, Quality]:
    """PSNR and SSIM of the trainer's network on each test image."""
    names = [original.name for original in trainer.splits.originals["test"]]
    return dict(zip(names, trainer.qualities(trainer.test_batches()), strict=True))


def export_8_bit(trainer: SuperResolution, float_ir: Path, path: Path) -> Path:
    """NNCF's post-training quantization of a float IR.

    With whole training images and the slow bias correction: the fast one on patches lost 1.5 dB (ESPCN, scale 2).
    """
    config, originals = trainer.config, trainer.splits.originals["train"][:CALIBRATION_IMAGES]
    pairs = [make_pair(original, config["scale"], config["channels"]) for original in originals]
    quantized = nncf.quantize(
        read_ir(float_ir), nncf.Dataset([to_values(pair.low)[None] for pair in pairs]),
        subset_size=len(pairs), fast_bias_correction=False,
    )  # fmt: skip
    save_ir(quantized, path)
    return path


def run(model: str, scale: int, bits: str, folder: Path) -> Path:
    """Train, search, export, compare; goes on with what an interrupted run left.

    Args:
        model: Network of the recipes.
        scale: Factor of height and width.
        bits: Bits of weights and activations in the search's recipe, such as ``w2a8``.
        folder: Folder of everything that is written.

    Returns:
        Path of the Markdown table.
    """
    started = time.perf_counter()
    float_name, search_name = f"{model}_float", f"{model}_{bits}"
    console.print(f"1/3  float network ({float_name})", highlight=False)
    best_float = make_trainer(float_name, scale, folder / "float").fit()
    console.print(f"2/3  search from it ({search_name})", highlight=False)
    best = make_trainer(search_name, scale, folder / bits, best_float).fit()
    console.print("3/3  export, OpenVINO", highlight=False)
    reference = make_trainer(float_name, scale, folder / "float", resume=best_float)
    searched = make_trainer(search_name, scale, folder / bits, best_float, resume=best)
    report = _compare(reference, searched, bits.upper(), scale, folder)
    photographs = len(report.rows[0].qualities)
    report.title = f"{search_name}, scale {scale}: {photographs} test photographs, PSNR in dB / SSIM on Y"
    report.notes += [
        f"artefacts: {folder}/ (float.xml, nncf_8_bit.xml, {bits}.xml, {bits}.png, {bits}.md, {bits}.html)",
        f"{machine()}, {date.today()}, {time.perf_counter() - started:.0f} s in all",
    ]
    report.show(folder / f"{bits}.md")
    searched.log.network("searched", scores={"test": searched.test()})
    measure_file(searched, folder / f"{bits}.xml")
    write_report([folder / bits], folder / f"{bits}.html")
    return folder / f"{bits}.md"


def _compare(reference: SuperResolution, searched: SuperResolution, name: str, scale: int, folder: Path) -> Report:
    originals = searched.splits.originals["test"]
    pairs = [make_pair(original, scale, searched.config["channels"]) for original in originals]
    float_ir = reference.export(folder / "float.xml")
    eight = export_8_bit(reference, float_ir, folder / "nncf_8_bit.xml")
    ours = searched.export(folder / f"{name.lower()}.xml")
    shape = [1, searched.config["channels"], TIMED_SIZE, TIMED_SIZE]
    irs = [("float, IR", float_ir), ("8 bits (NNCF), IR", eight), (f"{name}, IR", ours)]
    speeds = timed([(title, path, in_openvino(path, pairs, scale)) for title, path in irs], shape)
    with nncf_slb.searched_network(searched.ctrl):
        expected = Row(f"{name}, expected weights, PyTorch", qualities(searched))
    rows = [bicubic(pairs, scale), Row("float, PyTorch", qualities(reference)), expected]
    rows += [Row(f"{name}, discrete, PyTorch", qualities(searched)), *speeds]
    crop_sheet(originals, [("float", float_ir), (name, ours)], scale, folder / f"{name.lower()}.png")
    float_row, eight_row, our_row = speeds
    assert eight_row.throughput_ratio and our_row.throughput_ratio and float_row.bytes and our_row.bytes
    notes = [
        f"against float: {our_row.mean[0] - rows[1].mean[0]:+.2f} dB, .bin {float_row.bytes / our_row.bytes:.1f} times "
        f"smaller, {our_row.throughput_ratio:.2f} times the images/s; against 8 bits "
        f"{our_row.throughput_ratio / eight_row.throughput_ratio:.2f} times",
        f"speed: inputs of {TIMED_SIZE} x {TIMED_SIZE} pixels",
        searched.ctrl.statistics().slb.to_str(),
    ]
    return Report("", rows, notes)


def main() -> int:
    """Entry point; exit status 2 on what a user can mend, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="espcn", choices=list(RECIPES.starts), help="network (default: espcn)")
    parser.add_argument("--scale", type=int, default=2, choices=(2, 3, 4))
    parser.add_argument("--bits", default="w2a8", choices=[f"w{w}a{a}" for w, a in PAIRS], help="default: w2a8")
    parser.add_argument("--log-dir", type=Path, help="folder of all files (default: one for each model and scale)")
    arguments = parser.parse_args()
    folder = arguments.log_dir or Path(f"runs/super_resolution_{arguments.model}_x{arguments.scale}")
    own = (arguments.model, arguments.scale, arguments.bits, folder)
    return exit_status(lambda: run(*own))


if __name__ == "__main__":
    sys.exit(main())
