"""Rooms import one way, and what searches, chooses bits and reads configs knows no host."""

import ast
import re
from pathlib import Path

import pytest

import nncf_slb

PACKAGE = Path(nncf_slb.__file__).parent
# What each room may import, besides itself and the files beside the rooms.
ARROWS = {
    "search": (),
    "bits": ("search",),
    "config": ("search",),
    "openvino": ("search", "bits", "config"),
    "onnx": ("search", "bits", "config", "openvino"),
    "photos": ("search", "bits", "config", "openvino"),
    "reports": ("search", "bits", "config", "openvino"),
    "hosts": ("search", "bits", "config", "openvino", "onnx", "reports"),
    "commands": ("search", "bits", "config", "openvino", "onnx", "photos", "reports", "hosts"),
}
HOSTLESS = ("search", "bits", "config")
TEXTS_OF_HOSTS = re.compile(
    r"\.pre_ops\.|input_infos|loader\.get_inputs|ctrl\.export_model|child_ctrls|\bNNCF[A-Z][a-z]|prefix\(.NNCF"
)
BESIDE = {"errors", "files", "tables", "version"}


def modules(*rooms):
    for room in rooms:
        yield from (PACKAGE / room).rglob("*.py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ([f"{node.module}.{a.name}" for a in node.names] if node.module == "nncf_slb" else [node.module])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_folder_is_a_room():
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(ARROWS)


@pytest.mark.parametrize("room", ARROWS)
def test_rooms_import_one_way(room):
    for path in modules(room):
        parts = [name.split(".")[1] for name in imported(path) if name.startswith("nncf_slb.")]
        assert set(parts) <= {room, *ARROWS[room], *BESIDE}, path


@pytest.mark.parametrize("room", HOSTLESS)
def test_the_core_imports_no_host_and_no_runtime(room):
    for path in modules(room):
        assert not {name.split(".")[0] for name in imported(path)} & {"nncf", "openvino", "onnx"}, path


@pytest.mark.parametrize("room", ["search", "bits", "config", "openvino", "onnx", "photos", "reports"])
def test_no_room_but_hosts_spells_what_a_host_calls_its_own(room):
    for path in modules(room):
        assert not TEXTS_OF_HOSTS.findall(path.read_text()), path


def test_deployed_layers_need_no_code_that_trains():
    own = {name for name in imported(PACKAGE / "search/runtime.py") if name.startswith("nncf_slb.")}
    assert own == {"nncf_slb.search.channels"}


def test_packed_checkpoints_load_with_what_deployed_layers_need():
    allowed = {"channels", "runtime", "bit_planes", "packed_file", "fast_path"}
    for name in ("packed", "packed_file", "bit_planes"):
        own = {each for each in imported(PACKAGE / f"search/{name}.py") if each.startswith("nncf_slb.search.")}
        assert {each.rpartition(".")[2] for each in own} <= allowed, name


def test_only_one_file_touches_the_registry_and_the_schema_of_nncf():
    touching = {path.name for path in PACKAGE.rglob("*.py") if "PT_COMPRESSION_ALGORITHMS" in path.read_text()}
    assert touching == {"registration.py"}
