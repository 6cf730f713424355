"""Damaged IRs and odd names of files: an answer, or one line that names the file; never a traceback, never a new file.

``DAMAGES=all`` runs every command on every damage; otherwise each damage meets one command, and some meet none.
"""

import os
import shutil
from functools import lru_cache

import pytest

from nncf_slb.cli import main
from tests.openvino.damages import DAMAGES
from tests.openvino.exported import exported_small, searched_small

COMMANDS = {
    "inspect": (),
    "verify": ("tests.openvino.test_damages:stripped",),
    "benchmark": ("--rounds", "1", "--threads", "1"),
}
_FEW = 5
ALL = [(command, damage) for damage in DAMAGES for command in COMMANDS]
SOME = [(list(COMMANDS)[index % 3], damage) for index, damage in enumerate(DAMAGES) if index % _FEW == 0]


@lru_cache
def stripped():
    return searched_small(activations=8).strip()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return exported_small(tmp_path_factory.mktemp("exported"), activations=8)[1]


def copied(exported, folder, name=b"m"):
    for suffix in (".xml", ".bin"):
        shutil.copy(exported.with_suffix(suffix), folder / os.fsdecode(name + suffix.encode()))
    return folder / os.fsdecode(name + b".xml")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.is_symlink()}


@pytest.mark.parametrize(("command", "damage"), ALL if os.environ.get("DAMAGES") == "all" else SOME)
def test_a_damaged_file_is_answered_or_named_in_one_line(command, damage, exported, tmp_path, capfd):
    path = copied(exported, tmp_path)
    DAMAGES[damage](path)
    before = contents(tmp_path)
    status = main([command, str(path), *COMMANDS[command]])
    shown = capfd.readouterr()
    if status == 2:
        (line,) = shown.err.splitlines()
        assert line.startswith("error: ") and (str(path) in line or str(path.with_suffix(".bin")) in line)
        assert shown.out == ""
    else:
        assert status == 0 or (command == "verify" and status == 1)
        assert shown.out
    assert contents(tmp_path) == before


NAMES = {
    "not UTF-8": b"m\xff\xfe",
    "two lines": b"m\nn",
    "for the terminal": b"m\x1b[31m",
    "spaces": b" m n ",
    "dots": b"m.n",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_files_may_have_any_name(command, name, exported, tmp_path, capfd):
    path = copied(exported, tmp_path, NAMES[name])
    assert main([command, str(path), *COMMANDS[command]]) == 0
    shown = capfd.readouterr().out
    assert all(character.isprintable() for line in shown.splitlines() for character in line)
    path.with_suffix(".bin").write_bytes(b"")
    assert main([command, str(path), *COMMANDS[command]]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.isprintable() and "it is truncated" in line


@pytest.mark.parametrize("command", COMMANDS)
def test_names_that_the_system_refuses_are_one_line(command, tmp_path, capfd):
    for name in ("m" * 300, "m/" * 3000 + "m", "m.xml/m"):
        assert main([command, str(tmp_path / f"{name}.xml"), *COMMANDS[command]]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert "there is no such file" in line or "it cannot be read" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("suffix", [".xml", ".bin"])
def test_files_that_must_not_be_read_are_named(command, suffix, exported, tmp_path, capfd):
    path = copied(exported, tmp_path)
    path.with_suffix(suffix).chmod(0)
    assert main([command, str(path), *COMMANDS[command]]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert f"{path.with_suffix(suffix)}: it cannot be read (Permission denied)" in line


def npy(header):
    return b"\x93NUMPY\x01\x00v\x00" + header.encode().ljust(117) + b"\n"


DATA = {
    "no zip": b"PK\x03\x04 and no more",
    "cut": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (16, 1, 8, 8), }"),
    "huge": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 99999), }"),
    "no header": npy("(" * 117),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (16,), }"),
    "empty": b"",
}


@pytest.mark.parametrize("damage", DATA)
def test_damaged_data_is_one_line(damage, exported, tmp_path, capfd):
    path = copied(exported, tmp_path)
    (tmp_path / "data.npy").write_bytes(DATA[damage])
    assert main(["verify", str(path), *COMMANDS["verify"], "--data", str(tmp_path / "data.npy")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: --data: ") and "data.npy is no readable .npy or .npz file" in line
