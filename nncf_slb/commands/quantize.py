"""``nncf-slb quantize``: a trained network of the user's and unlabeled inputs in, a file and a table out."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from nncf_slb.commands.command import GOOD, Command, Result
from nncf_slb.commands.user_code import called
from nncf_slb.errors import SettingError, SLBError, printable
from nncf_slb.files import problem_of_writing
from nncf_slb.tables import terminal_width

if TYPE_CHECKING:  # torch loads only once the command line has been read
    from nncf_slb.hosts.torch.result import PostTraining
    from nncf_slb.openvino.benchmark import Comparison
    from nncf_slb.search.reconstruction import Progress

_LOAD_HELP = (
    "MODULE:FUNCTION of your code, called without arguments: returns the trained model and an iterable of input "
    "batches, and as a third, if you like, a function that gives a model's score. The current folder is searched first"
)


@dataclass(frozen=True)
class Quantized:
    """What was written.

    Attributes:
        output: The file.
        found: The search.
        latency: Of the float network and the file; None where it was not measured.
        not_measured: Why there is no latency; None where there is one, or none was asked for.
        seconds: From the beginning to the written file and its measurement.
    """

    output: Path
    found: PostTraining
    latency: Comparison | None
    not_measured: str | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON: fields by name."""
        latency = None if self.latency is None else self.latency.to_dict()
        return {
            "output": str(self.output), **self.found.to_dict(), "latency": latency, "not_measured": self.not_measured,
            "seconds": self.seconds,
        }  # fmt: skip

    def to_str(self) -> str:
        """Tables for the terminal."""
        path, lines = self.output, [self.found.report()]
        if self.not_measured is not None:
            lines.append(f"latency: not measured ({self.not_measured})")
        elif self.latency is not None:
            full, ours = self.latency.timings
            lines.append(
                f"latency: float {full.latency.median:.3f} ms, {printable(path.name)} {ours.latency.median:.3f} ms "
                f"({ours.latency_ratio.median:.2f} times as fast; {self.latency.device}, {self.latency.date}, batch 1)"
            )
        files = str(path) if path.suffix == ".onnx" else f"{path} and {path.with_suffix('.bin').name}"
        return "\n".join([*lines, f"{printable(files)} written, {self.seconds:.0f} s in all"])


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("load", help=_LOAD_HELP)
    add("-o", "--output", type=Path, required=True, help=".xml or .onnx file to write")
    add("--onnx-types", choices=("planes", "native"), help="how an .onnx file stores codes: in bits that any runtime "
        "reads, or as UINT2 and UINT4 (default: planes)")  # fmt: skip
    add("--bits", type=_bits, help="bits of a weight: 1, 2, 3, 4 or auto (default: 2, or what the config says)")
    add("--activations", type=int, help="bits of the layers' inputs: 1, 2, 4, 8 or 32 (default: 32)")
    add("--edges", type=_edges, help="first and last layers: 8 bits, float or search (default: 8)")
    add("--config", type=Path, help="JSON: an slb section, or an NNCF config that holds one")
    budget = parser.add_mutually_exclusive_group()
    for name, kind, meaning in (
        ("--budget-bytes", int, "choose the bits of each layer so that the .bin takes no more"),
        ("--budget-bits", float, "choose them within a mean of bits over all weights"),
        ("--max-drop", float, "find the fewest bits that lose no more points of the score, or of the agreement with "
         "the float network"),
    ):  # fmt: skip
        budget.add_argument(name, type=kind, metavar="N", help=meaning)
    add("--samples", type=int, help="samples to search with (default: 2000)")
    add("--steps", type=int, help="optimizer steps (default: 1000)")
    add("--batch-size", type=int, help="samples of a step, fewer where memory is short (default: 100)")
    add("--granularity", choices=("network", "block"), default="network", help="what is trained at once; block by "
        "block serves networks that do not fit into memory, and loses a little more (default: network)")  # fmt: skip
    add("--seed", type=int, default=0, help="seed of the order of the samples (default: 0)")
    add("--checkpoint", type=Path, help="file to go on from after an interruption (default: none)")
    add("--log-dir", type=Path, help="folder to which the search writes its numbers, for nncf-slb report (default: "
        "none)")  # fmt: skip
    add("--no-latency", action="store_true", help="leave the latencies out, which take a few seconds")


def _run(arguments: argparse.Namespace) -> tuple[Result, int]:
    from nncf_slb.hosts.torch.post_training import search_post_training

    if arguments.output.suffix not in (".xml", ".onnx"):
        raise SettingError(f"--output: received {arguments.output}; allowed are names that end in .xml or .onnx")
    if arguments.onnx_types is not None and arguments.output.suffix != ".onnx":
        raise SettingError(
            f"--onnx-types: received {arguments.onnx_types} for {arguments.output}; allowed with .onnx only"
        )
    _refuse_unwritable(arguments.output)
    model, images, score = _parts(arguments.load, called(arguments.load, "load"))
    started = time.perf_counter()
    with ProgressLine(sys.stderr) as progress:
        found = search_post_training(
            model,
            images,
            bits="auto" if arguments.bits is None and _budget(arguments) is not None else arguments.bits,
            activations=arguments.activations,
            edges=arguments.edges,
            budget=_budget(arguments),
            max_drop=arguments.max_drop,
            config=arguments.config,
            num_samples=arguments.samples,
            steps=arguments.steps,
            batch_size=arguments.batch_size,
            granularity=arguments.granularity,
            seed=arguments.seed,
            score=score,
            dry_export=False if arguments.output.suffix == ".onnx" else None,
            checkpoint=arguments.checkpoint,
            progress=progress,
            log_dir=arguments.log_dir,
        )
    path = found.export(arguments.output, onnx_types=arguments.onnx_types)
    latency = not_measured = None
    if not arguments.no_latency:
        try:
            latency = _latency(found, path)
        except SLBError as error:
            not_measured = str(error)
    return Quantized(path, found, latency, not_measured, time.perf_counter() - started), GOOD


def _refuse_unwritable(output: Path) -> None:
    """Find out before the search whether the file can be written after it.

    Raises:
        SettingError: If it cannot.
    """
    from nncf_slb.openvino.request import check_path

    check_path(output, (output.suffix,))
    if problem := problem_of_writing(output):
        raise SettingError(f"--output: received {printable(problem)}")


def _parts(text: str, loaded: Any) -> tuple[Any, Any, Callable[[Any], float] | None]:
    from torch import nn

    parts = loaded if isinstance(loaded, tuple) else ()
    is_right = len(parts) in (2, 3) and isinstance(parts[0], nn.Module) and all(map(callable, parts[2:]))
    if not is_right:
        kinds = ", ".join(type(part).__name__ for part in parts) or type(loaded).__name__
        raise SettingError(
            f"load: {text} returns {kinds}; allowed are (model, batches) and (model, batches, score function)"
        )
    return parts[0], parts[1], parts[2] if len(parts) > 2 else None


def _budget(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if arguments.budget_bytes is not None:
        return {"bytes": arguments.budget_bytes}
    return None if arguments.budget_bits is None else {"mean_bits": arguments.budget_bits}


def _latency(found: PostTraining, path: Path) -> Comparison:
    """Latency of the file beside that of the float network."""
    from nncf_slb.onnx.benchmark import benchmark_files

    with tempfile.TemporaryDirectory() as folder:
        reference = found.export_float(Path(folder) / "float.xml")
        compared = benchmark_files([reference, path], rounds=50)
    full, ours = compared.timings
    found.record_latency("float", full.latency.median)
    if path.suffix == ".xml":  # an ONNX file has no row
        found.record_latency(path.name, ours.latency.median)
    return compared


def _bits(text: str) -> int | str:
    try:
        return text if text == "auto" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"received {text}; allowed: 1, 2, 3, 4 or auto") from None


def _edges(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


class ProgressLine:
    """Steps, time left and distance: one line that is renewed in a terminal, and a line for every tenth elsewhere.

    Args:
        stream: Where to write.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started = time.perf_counter()
        self._first = 0
        self._open = False

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *error: object) -> None:
        if self._open:  # what follows, such as an error, begins a line
            print(file=self._stream, flush=True)

    def __call__(self, progress: Progress) -> None:
        """Show a step."""
        if progress.step == 1 or not self._first:
            self._started, self._first = time.perf_counter(), progress.step
        last, terminal = progress.step == progress.steps, self._stream.isatty()
        if not (terminal or last or progress.step % max(1, progress.steps // 10) == 0):
            return
        done = progress.step - self._first
        left = (time.perf_counter() - self._started) / done * (progress.steps - progress.step) if done else None
        text = (
            f"step {progress.step} of {progress.steps}, {'-' if left is None else f'{left:.0f}'} s left, "
            f"distance {progress.output_loss:.4f} (outputs), {progress.layer_loss:.4f} (layers)"
        )
        if terminal:
            text = f"\r{text[: terminal_width() - 1]}\x1b[K"
        self._open = terminal and not last
        print(text, end="" if self._open else "\n", file=self._stream, flush=True)


COMMAND = Command(
    "quantize", "search low-bit weights of a trained network with unlabeled inputs, and export them",
    "quantize my_project:load --bits 2 --activations 8 -o model.xml", _add_arguments, _run,
)  # fmt: skip
