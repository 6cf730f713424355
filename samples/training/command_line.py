"""The command of a sample: train, test and export networks from an NNCF JSON config."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from nncf_slb.hosts.create import HOSTS, default_host
from samples.training.measuring import measure_file
from samples.training.processes import Processes, ProcessesError, join_from_environment, together
from samples.training.run_folder import held
from samples.training.saving import ALLOWED
from samples.training.settings import Settings, SettingsError, Task, check, read_with_problems
from samples.training.terminal import exit_status
from samples.training.trainer import Trainer


def make_parser(task: Task) -> argparse.ArgumentParser:
    """Arguments of NNCF's own samples, and those of the task."""
    parser = argparse.ArgumentParser(prog=f"samples.{task.name}.main", description=__doc__)
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", "-c", type=Path, help=f"JSON config; configs/{task.name} has examples")
    source.add_argument("--recipe", "-r", metavar="NAME", help=f"config of samples/{task.name}/recipes.py")
    source.add_argument("--list-recipes", action="store_true", help="print the names of all recipes and stop")
    add("--print-config", action="store_true", help="print the config, as JSON that NNCF reads, and stop")
    add("--mode", "-m", nargs="+", choices=["train", "test", "export"], default=["train", "test"])
    add("--data", type=Path, help="folder of the data set, where it needs one")
    add("--dataset", help="data set instead of the config's")
    add("--resume", type=Path, help="checkpoint of a run to continue")
    add("--weights", type=Path, help="checkpoint of a float network to begin from")
    add("--log-dir", type=Path, default=Path(f"runs/{task.name}"), help="folder of logs, checkpoints and exports")
    add("--save-every", metavar="N", help=f"save within epochs too: {ALLOWED}")
    add("--epochs", type=int, help="epochs instead of the config's; the schedule of slb follows")
    add("--batch-size", "-b", type=int, help="images in a batch, in each process, instead of the config's")
    add("--workers", "-j", type=int, default=0, help="processes that load images (ImageNet)")
    add("--seed", type=int, help="seed instead of the config's")
    add("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    add(
        "--host", choices=HOSTS, default=default_host(),
        help="how a search gets into the network; by default what fits the NNCF that is installed",
    )  # fmt: skip
    add("--export-model-path", type=Path, help=".xml or .onnx; model.xml in the log folder by default")
    add(
        "--multiprocessing-distributed", type=int, nargs="?", const=0, metavar="N",
        help="start N processes on this machine (one for each GPU by default); under torchrun leave it out",
    )  # fmt: skip
    for name, description in task.arguments.items():
        add(name, **description)
    return parser


def make_settings(arguments: argparse.Namespace, task: Task) -> Settings:
    """Checked settings.

    Raises:
        RecipeError: If there is no recipe of this name.
        SettingsError: With every problem.
    """
    of_text: list[str] = []
    if arguments.recipe:
        config = task.recipes[arguments.recipe]
    else:
        config, of_text = read_with_problems(arguments.config)
    if arguments.dataset is not None and arguments.dataset != config.get("dataset"):
        for name in ("num_classes", "input_info"):  # those of the config's data set
            config.pop(name, None)
    own = [name.removeprefix("--").replace("-", "_") for name in task.arguments]
    for name in ("dataset", "epochs", "batch_size", "seed", *own):
        if getattr(arguments, name) is not None:
            config[name] = getattr(arguments, name)
    settings = Settings(
        config, arguments.log_dir, arguments.data, arguments.weights, arguments.resume, arguments.device,
        arguments.workers, arguments.host, arguments.save_every,
    )  # fmt: skip
    check(settings, task, of_text)
    _check_export_path(arguments.export_model_path, settings)
    return settings


def _check_export_path(path: Path | None, settings: Settings) -> None:
    allowed = (".xml", ".onnx") if settings.compressed else (".xml",)
    if path is not None and path.suffix not in allowed:
        raise SettingsError(
            f"export-model-path: received '{path}'; allowed: a path that ends in {' or '.join(allowed)}"
        )


def run(kind: type[Trainer], arguments: argparse.Namespace, processes: Processes) -> None:
    """Do what ``--mode`` names, in the order train, test, export; the latter two with training's best checkpoint."""
    settings = make_settings(arguments, kind.task)
    writes = processes.first and arguments.mode != ["test"]
    with held(settings.log_dir) if writes else nullcontext():
        trainer = kind(settings, processes)
        if "train" in arguments.mode:
            best = _fit(trainer, arguments)
            trainer.log.line(f"best checkpoint: {best}")
            trainer = kind(replace(settings, resume=best), processes)
        if trainer.ctrl:
            trainer.log.line(trainer.ctrl.statistics().to_str())
        if "test" in arguments.mode:
            trainer.show_test()
        if "export" in arguments.mode and processes.first:
            path = trainer.export(arguments.export_model_path or arguments.log_dir / "model.xml")
            trainer.log.line(f"exported: {path}")
            if trainer.ctrl and "test" in arguments.mode and path.suffix == ".xml":
                measure_file(trainer, path)


def _fit(trainer: Trainer, arguments: argparse.Namespace) -> Path:
    resume = _resume(arguments, trainer)
    try:
        with together(trainer.processes, f"to go on from {trainer.last}:\n  {resume}"):
            return trainer.fit()
    except KeyboardInterrupt as error:
        trainer.log.line(f"\nInterrupted; {trainer.saved} is saved. To go on:\n  {resume}")
        raise SystemExit(getattr(error, "status", 130)) from None


def _resume(arguments: argparse.Namespace, trainer: Trainer) -> str:
    words, skip = [], False
    for word in sys.argv[1:]:
        if skip or word == "--resume" or word.startswith("--resume="):
            skip = word == "--resume"
            continue
        words.append(word)
    return shlex.join(["python", "-m", f"samples.{trainer.task.name}.main", *words, "--resume", str(trainer.last)])


def _spawned(local_rank: int, kind: type[Trainer], arguments: argparse.Namespace, world: int) -> None:
    os.environ.update(RANK=str(local_rank), LOCAL_RANK=str(local_rank), WORLD_SIZE=str(world))
    sys.exit(exit_status(lambda: _run_and_leave(kind, arguments), ADVICE))


def _run_and_leave(kind: type[Trainer], arguments: argparse.Namespace) -> None:
    try:
        run(kind, arguments, join_from_environment(arguments.device))
    finally:
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()


ADVICE = "nothing had been trained since the last checkpoint."


def main(kind: type[Trainer], argv: list[str] | None = None) -> int:
    """Run a task's command; exit status 2 on bad settings, data or checkpoints, 130 on Ctrl-C, 143 on SIGTERM."""
    return exit_status(lambda: _main(kind, argv), ADVICE)


def _main(kind: type[Trainer], argv: list[str] | None) -> None:
    arguments = make_parser(kind.task).parse_args(argv)
    if arguments.list_recipes:
        print(kind.task.recipes.to_str())
        return
    settings = make_settings(arguments, kind.task)
    if arguments.print_config:
        print(json.dumps(settings.config, indent=2))
    elif arguments.multiprocessing_distributed is None:
        _run_and_leave(kind, arguments)
    else:
        _start(kind, arguments, arguments.multiprocessing_distributed or max(1, torch.cuda.device_count()))


def _start(kind: type[Trainer], arguments: argparse.Namespace, world: int) -> None:
    """Start processes and wait for them; when one ends badly, or this one is interrupted, all end."""
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29511")
    context = torch.multiprocessing.spawn(_spawned, (kind, arguments, world), world, join=False)
    try:
        while not context.join():
            pass
    except torch.multiprocessing.ProcessExitedException as error:
        if error.exit_code > 0:  # it has said why
            raise SystemExit(error.exit_code) from None
        raise ProcessesError(f"{error}, so the run ended; go on with --resume") from None
    except KeyboardInterrupt as error:
        for process in context.processes:
            process.terminate()
            process.join()
        raise SystemExit(getattr(error, "status", 130)) from None
