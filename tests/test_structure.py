"""Layers import one way, and importing the package in the wrong order or with the wrong NNCF says what to do."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import nncf_slb
from nncf_slb.cli import main

PACKAGE = Path(nncf_slb.__file__).parent
# Each module may import only from the sets before its own (design of the package, left to right).
LAYERS = [
    {
        "values",
        "functional",
        "temperature",
        "allocation",
        "config_schema",
        "targets",
        "version",
        "files",
        "ycbcr",
        "tiling",
        "processes",
        "finite",
        "nncf_tracing",
        "config_patterns",
        "config_reading",
    },
    {"config_errors", "phases", "images"},
    {"config_fields"},
    {"config_budget"},
    {"config_weights", "config_training", "config_activations"},
    {"config", "config_outside", "layers", "activations"},
    {"nncf_config_check", "config_reference", "scheduler", "batchnorm", "loss", "statistics", "strip"},
    {"discrete", "initialization", "replay", "weight_uses", "nncf_modules", "openvino.packing", "openvino.call_form"},
    {"sensitivity", "nncf_network"},
    {"planning", "openvino.graph", "openvino.machine"},
    {"model_checks", "openvino.conversion", "openvino.detours"},
    {"nncf_insertion"},
    {"openvino.inputs", "openvino.weights"},
    {"openvino.binary"},
    {"openvino.lowering"},
    {"openvino.metadata"},
    {"openvino.ir"},
    {"openvino.sample_data"},
    {"openvino.same_side"},
    {"openvino.layer_comparison"},
    {"openvino.export", "openvino.inspection", "openvino.verification", "openvino.benchmark", "openvino.upscaling"},
    {"dry_export"},
    {"size_prediction"},
    {"mixed_precision"},
    {"controller"},
    {"algo"},
    {"api"},
    {"registration"},
    {"__init__"},
    {"cli"},
]
CORE = {
    "values", "functional", "temperature", "phases", "layers", "activations", "batchnorm", "discrete",
    "initialization", "strip", "targets", "allocation", "sensitivity", "files", "ycbcr", "tiling", "images",
    "processes", "replay", "finite", "weight_uses", "config", "config_fields", "config_budget", "config_weights",
    "config_training", "config_activations", "config_patterns", "config_reading",
    "config_outside",
}  # fmt: skip


def imported(path):
    """Top-level imports only: the few inside functions are loaded when asked for."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def modules():
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if name != "openvino.__init__":
            yield name, path


def test_every_module_has_its_place_and_imports_only_what_stands_before_it():
    place = {name: index for index, names in enumerate(LAYERS) for name in names}
    for name, path in modules():
        own = {m.removeprefix("nncf_slb.") for m in imported(path) if m.startswith("nncf_slb.")} & set(place)
        later = {other for other in own if place[other] >= place[name]}
        assert not later, f"{name} imports {later}"


def test_the_core_knows_nothing_of_nncf_and_openvino():
    for name, path in modules():
        roots = {m.split(".")[0] for m in imported(path)}
        if name in CORE:
            assert not roots & {"nncf", "openvino"}, name


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_import_after_nncf_torch_says_what_to_do():
    code = "import os; os.environ.pop('NNCF_TORCH_LEGACY_TRACING', None); import nncf.torch; import nncf_slb"
    message = run(code).stderr
    assert "ImportError" in message and "Put 'import nncf_slb' above every import of nncf.torch" in message


def test_import_with_another_nncf_says_which_one_to_install():
    code = "from importlib import metadata; metadata.version = lambda name: '3.0.0'; import nncf_slb"
    message = run(code).stderr
    assert "ImportError" in message and "found 3.0.0" in message and "nncf>=2.19,<2.20" in message


def test_schema_command_prints_the_schema_that_nncf_checks_with(capsys):
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate({"algorithm": "slb"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"algorithm": "slb", "weights": {"bits": 5}}, schema)


def test_schema_command_prints_nothing_but_json():
    assert json.loads(run("from nncf_slb.cli import main; main(['schema'])").stdout)["additionalProperties"] is False


def test_check_command_lists_problems_by_file(tmp_path, capsys):
    good, bad, broken = (tmp_path / name for name in ("good.json", "bad.json", "broken.json"))
    good.write_text('{"compression": {"algorithm": "slb"}}')
    bad.write_text('{"compression": {"algorithm": "slb", "wieghts": {}}}')
    broken.write_text("{")
    assert main(["check", str(good)]) == 0
    assert main(["check", str(good), str(bad)]) == 2
    assert "did you mean" in capsys.readouterr().err
    assert main(["check", str(broken)]) == 2


def test_nncfs_own_schema_message_never_reaches_the_user():
    from nncf import NNCFConfig

    for compression in (
        {"algorithm": "slb", "bits": 2},
        [{"algorithm": "slb", "bits": 2}, {"algorithm": "quantization"}],
    ):
        with pytest.raises(nncf_slb.ConfigError) as caught:
            NNCFConfig.from_dict({"compression": compression})
        assert "not valid under any" not in str(caught.value) and "weights.bits" in str(caught.value)
