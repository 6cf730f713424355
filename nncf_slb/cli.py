"""The ``nncf-slb`` command."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from nncf_slb import quantize_command, report_command
from nncf_slb.errors import SettingError, SLBError, printable
from nncf_slb.photos.tiling import DEFAULT_OVERLAP

_VERIFY_HELP = "run the stripped PyTorch model and an exported file on the same data and compare"
_MODEL_HELP = (
    "MODULE:FUNCTION of your code, called without arguments: returns the controller, or what its strip() returned, "
    "with the weights that were exported. The current folder is searched first"
)


def main(argv: list[str] | None = None) -> int:
    """Entry point; exit status 0 on success, 1 for findings (out of tolerance), 2 for what can't be used."""
    arguments = _parser().parse_args(argv)
    status: int = arguments.run(arguments)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nncf-slb", description="Search for 1- to 4-bit weights with NNCF.")
    commands = parser.add_subparsers(dest="command", required=True)
    schema = commands.add_parser("schema", help="print the JSON schema of the slb section")
    schema.set_defaults(run=_print_schema)
    check = commands.add_parser("check", help="check NNCF configs and list every problem")
    check.add_argument("config", type=Path, nargs="+", help="JSON files")
    check.add_argument("--model", help="MODULE:FUNCTION of your code, called without arguments: returns the float "
                       "network, whose searched layers and further memory are listed")  # fmt: skip
    check.set_defaults(run=lambda arguments: max(_check(path, arguments.model) for path in arguments.config))
    quantize = commands.add_parser(
        "quantize", help="search low-bit weights of a trained network with unlabeled inputs, and export them",
        epilog="example: nncf-slb quantize my_project:load --bits 2 --activations 8 -o model.xml",
    )  # fmt: skip
    quantize_command.add_arguments(quantize)
    quantize.set_defaults(run=_quantize)
    pack = commands.add_parser("pack", help="write a stripped network as a packed checkpoint")
    pack.add_argument("model", help=_MODEL_HELP)
    pack.add_argument("-o", "--output", type=Path, required=True, help=".safetensors file to write")
    pack.set_defaults(run=_pack)
    unpack = commands.add_parser("unpack", help="write the float weights of a packed checkpoint as a state dict")
    unpack.add_argument("packed", type=Path, help=".safetensors file that pack or save_packed wrote")
    unpack.add_argument("-o", "--output", type=Path, required=True, help=".safetensors file to write")
    unpack.set_defaults(run=_unpack)
    inspect = commands.add_parser(
        "inspect", help="list the layers of an exported file and the kernels that run them, or the weights of a packed "
        "checkpoint",
    )  # fmt: skip
    inspect.add_argument("ir", type=Path, help=".xml, .onnx or .safetensors file")
    inspect.set_defaults(run=_on_openvino(_inspect))
    verify = commands.add_parser("verify", help=_VERIFY_HELP, description=f"{_VERIFY_HELP}; exit status 1 if it fails")
    verify.add_argument("ir", type=Path, help=".xml or .onnx file")
    verify.add_argument("model", help=_MODEL_HELP)
    verify.add_argument("--data", type=Path, help=".npy file, or .npz with one array for each input, in order; samples "
                        "along the first dimension (default: 16 samples of normal noise)")  # fmt: skip
    verify.add_argument("--tolerance", type=float, help="largest difference allowed, relative to the output's largest "
                        "value (default: 0.001, or 0.05 where activations are quantized)")  # fmt: skip
    verify.set_defaults(run=_on_openvino(_verify))
    benchmark = commands.add_parser("benchmark", help="latency and throughput of files, measured in turns")
    benchmark.add_argument("ir", type=Path, nargs="+", help=".xml and .onnx files; ratios are to the first")
    benchmark.add_argument("--batch", type=int, default=1, help="samples in one inference (default: 1)")
    benchmark.add_argument("--threads", type=int, help="threads that the CPU may use (default: the device's choice)")
    benchmark.add_argument("--rounds", type=int, default=100, help="rounds that count (default: 100)")
    benchmark.set_defaults(run=_on_openvino(_benchmark))
    report = commands.add_parser("report", help="write an HTML page of a run, or of an exported IR")
    report_command.add_arguments(report)
    report.set_defaults(run=_report)
    upscale = commands.add_parser("upscale", help="enlarge a photo with the IR of a super-resolution network")
    upscale.add_argument("photo", type=Path, help="image file: PNG, JPEG or whatever else Pillow reads")
    upscale.add_argument("--model", type=Path, required=True, help=".xml file")
    upscale.add_argument("-o", "--output", type=Path, required=True, help=".png, .tif, .webp or .jpg file to write")
    upscale.add_argument("--tile", type=int, help="pixels of the photo from one tile to the next, for photos that do "
                         "not fit into memory (default: the whole photo at once)")  # fmt: skip
    upscale.add_argument("--overlap", type=int, default=DEFAULT_OVERLAP, help="pixels around a tile that the network "
                         "sees too, at least the radius of its receptive field (default: %(default)s)")  # fmt: skip
    upscale.set_defaults(run=_on_openvino(_upscale))
    for command in (inspect, benchmark):
        command.add_argument(
            "--shape", help="shape of the input where more than the batch is free, such as 1,3,256,256"
        )
    for command in (inspect, verify, benchmark, upscale):
        command.add_argument("--device", default="CPU", help="OpenVINO device (default: CPU)")
        command.add_argument("--property", action="append", default=[], metavar="NAME=VALUE", help="OpenVINO property "
                             "to compile with, such as INFERENCE_PRECISION_HINT=f32; may be repeated")  # fmt: skip
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def _quantize(arguments: argparse.Namespace) -> int:
    try:
        _show(quantize_command.run(arguments, _called(arguments.load)))
    except SLBError as error:
        return _fail(str(error))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    try:
        _show(report_command.run(arguments))
    except SLBError as error:
        return _fail(str(error))
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    from nncf_slb.search.packed import save_packed
    from nncf_slb.search.packed_inspection import inspect_packed

    try:
        print(inspect_packed(save_packed(_load_model(arguments.model), arguments.output)).to_str())
    except SLBError as error:
        return _fail(str(error))
    return 0


def _unpack(arguments: argparse.Namespace) -> int:
    from nncf_slb.search.packed import unpack
    from nncf_slb.search.packed_file import read_packed

    try:
        written = unpack(arguments.packed, arguments.output)
        left_out = len(read_packed(arguments.packed).quantizers)
    except SLBError as error:
        return _fail(str(error))
    print(f"{written}: float weights" + (f"; {left_out} quantizers of inputs are left out" if left_out else ""))
    return 0


def _print_schema(arguments: argparse.Namespace) -> int:
    from nncf_slb.config.section import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _check(path: Path, model: str | None) -> int:
    from nncf_slb.config.reading import (
        UnreadableConfigError,
        add_problems_of_text,
        read_config_file,
    )
    from nncf_slb.hosts.config_check import WholeConfigError, config_problems

    try:
        config, of_text = read_config_file(path)
    except UnreadableConfigError as error:
        return _fail(str(error))
    check = _check_of_samples(config) or config_problems
    problems = add_problems_of_text(check(config), of_text)
    if problems:
        _show(f"{printable(path)}: {WholeConfigError(problems)}", sys.stderr)
        return 2
    _show(f"{printable(path)}: good")
    if model is None:
        return 0
    try:
        _show(_cost(model, config).to_str())
    except SLBError as error:
        return _fail(str(error))
    return 0


def _cost(model: str, config: dict[str, Any]) -> Any:
    """What a search takes beyond float training."""
    from nncf_slb.hosts.installed import load_nncf

    network = _called(model)
    load_nncf()
    from nncf_slb.hosts.nncf2.cost import search_cost

    try:
        return search_cost(network, config)
    except SLBError:
        raise
    except Exception as error:  # the network's own, or NNCF's about its input_info
        raise SettingError(f"model: {model} gives what cannot be searched with this config ({error})") from error


def _check_of_samples(config: dict[str, Any]) -> Any:
    """The check of the sample that a config is for; None if it is for none, or the samples are not here."""
    if not {"model", "dataset"} & config.keys():
        return None
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module("samples.tasks").task_of(config).config_problems
    except ImportError:
        return None
    finally:
        sys.path.pop(0)


def _fail(message: str) -> int:
    _show(f"error: {message}", sys.stderr)
    return 2


def _show(text: str, stream: TextIO | None = None) -> None:
    """Print, with escapes for what the stream's encoding does not hold, such as names of files that are no UTF-8."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def _on_openvino(run: Any) -> Any:
    """A command that turns what is wrong with files and devices into one message and exit status 2."""

    def guarded(arguments: argparse.Namespace) -> int:
        try:
            result, status = run(arguments)
        except SLBError as error:
            return _fail(str(error))
        _show(json.dumps(result.to_dict(), indent=2) if arguments.json else result.to_str())
        return int(status)

    return guarded


def _inspect(arguments: argparse.Namespace) -> tuple[Any, int]:
    if arguments.ir.suffix == ".safetensors":
        from nncf_slb.search.packed_inspection import inspect_packed

        return inspect_packed(arguments.ir), 0
    if arguments.ir.suffix == ".onnx":
        from nncf_slb.onnx.inspection import inspect_onnx

        return inspect_onnx(arguments.ir), 0
    from nncf_slb.openvino.inspection import inspect_openvino

    return inspect_openvino(arguments.ir, arguments.device, _properties(arguments), _shape(arguments)), 0


def _verify(arguments: argparse.Namespace) -> tuple[Any, int]:
    from nncf_slb.openvino.verification import verify_openvino

    model, data = _load_model(arguments.model), _load_data(arguments.data)
    try:
        if arguments.ir.suffix == ".onnx":
            from nncf_slb.onnx.verification import verify_onnx

            result: Any = verify_onnx(model, arguments.ir, data, tolerance=arguments.tolerance)
        else:
            result = verify_openvino(
                model, arguments.ir, data, tolerance=arguments.tolerance, device=arguments.device,
                properties=_properties(arguments),
            )  # fmt: skip
    except SLBError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:  # the model's own
        raise SettingError(
            f"model: {arguments.model} does not run on the inputs of {printable(arguments.ir)} ({error})"
        ) from error
    return result, 0 if result.passed else 1


def _benchmark(arguments: argparse.Namespace) -> tuple[Any, int]:
    from nncf_slb.onnx.benchmark import benchmark_files

    result = benchmark_files(
        arguments.ir, device=arguments.device, batch=arguments.batch, threads=arguments.threads,
        rounds=arguments.rounds, properties=_properties(arguments), shape=_shape(arguments),
    )  # fmt: skip
    return result, 0


def _upscale(arguments: argparse.Namespace) -> tuple[Any, int]:
    from nncf_slb.photos.upscaling import upscale_image

    result = upscale_image(
        arguments.photo, arguments.model, arguments.output, tile=arguments.tile, overlap=arguments.overlap,
        device=arguments.device, properties=_properties(arguments),
    )  # fmt: skip
    return result, 0


def _properties(arguments: argparse.Namespace) -> dict[str, str]:
    pairs = [text.partition("=") for text in arguments.property]
    wrong = [name for name, sign, value in pairs if not (name and sign and value)]
    if wrong:
        raise SettingError(f"--property: received {', '.join(wrong)}; write NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _shape(arguments: argparse.Namespace) -> list[int] | None:
    if arguments.shape is None:
        return None
    try:
        lengths = [int(length) for length in arguments.shape.split(",")]
    except ValueError:
        lengths = [0]
    if min(lengths) < 1:
        raise SettingError(f"--shape: received {arguments.shape}; write numbers above 0, such as 1,3,256,256")
    return lengths


def _called(text: str) -> Any:
    """What a function of the user's returns, from MODULE:FUNCTION."""
    module, colon, function = text.partition(":")
    if not (module and colon and function):
        raise SettingError(f"model: received {text}; write MODULE:FUNCTION, such as my_project.networks:load_searched")
    sys.path.insert(0, os.getcwd())
    try:
        make = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever the user's module raises
        raise SettingError(f"model: received {text}, which cannot be imported ({error})") from error
    try:
        return make()
    except Exception as error:  # whatever the user's function raises
        raise SettingError(f"model: {text} cannot be called ({error})") from error


def _load_model(text: str) -> Any:
    from nncf_slb.openvino.stripped_network import stripped_network

    made = _called(text)
    try:
        return stripped_network(made)
    except Exception as error:  # what the user's network raises
        raise SettingError(f"model: {text} gives what cannot be verified ({error})") from error


def _load_data(path: Path | None) -> Any:
    import numpy as np

    if path is None:
        return None
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return tuple(loaded[name] for name in loaded.files) if hasattr(loaded, "files") else loaded
    except Exception as error:  # zip, its compression and NumPy's format have errors of their own
        raise SettingError(
            f"--data: {printable(path)} is no readable .npy or .npz file ({printable(error)})"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
