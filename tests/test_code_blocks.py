"""Programs, configs and commands that the pages show are good ones.

The programs of the README, of hosts.md, post-training.md, quick-starts.md, examples.md and runtime-faults.md run in
tests of their own.
"""

import configparser
import functools
import importlib.util
import json
import re
import shlex
from pathlib import Path

import openvino as ov
import pytest
import torch

import nncf_slb
from nncf_slb.commands.parser import make_parser as make_cli_parser
from nncf_slb.config.section import parse_slb_config, validate_nncf_config
from nncf_slb.search.reconstruction import Recipe
from samples.tasks import TASKS
from samples.training.command_line import make_parser
from tests.plain_networks import DigitsNet

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN_ELSEWHERE = {"README.md", "hosts.md", "quick-starts.md", "examples.md", "post-training.md", "runtime-faults.md"}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
COMMAND = re.compile(r"(make|nncf-slb|python|pip|torchrun) ")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page):
    """Lines of blocks, and code inside sentences, that begin with a command."""
    text = page.read_text(encoding="utf-8")
    shown = "".join(re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")
    inside = re.findall(
        r"`((?:make|nncf-slb|python|pip|torchrun) [^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    )
    for line in [*shown.splitlines(), *inside]:
        if COMMAND.match(line) and "..." not in line:
            yield shlex.split(line.partition(" > ")[0], comments=True)


def module_runs(name, arguments):
    assert importlib.util.find_spec(name), name
    for task in TASKS:
        if name == f"samples.{task.name}.main":
            make_parser(task).parse_args(arguments)


def check_command(program, *arguments):
    extras = configparser.ConfigParser()
    extras.read(ROOT / "setup.cfg")
    match program:
        case "make":
            assert {a for a in arguments if "=" not in a and not a.startswith(".")} <= TARGETS
        case "nncf-slb":
            if len(arguments) > 1:  # else a command's name
                make_cli_parser().parse_args(arguments)
        case "python":
            if arguments[0] == "-m":
                module_runs(arguments[1], arguments[2:])
            elif arguments[0] != "-c":
                assert (ROOT / arguments[0]).exists()
        case "pip":
            named = re.findall(r"\.\[(.*?)\]", " ".join(arguments))
            assert arguments[0] == "install" and set(named) <= set(extras["options.extras_require"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one(page):
    for command in commands(page):
        try:
            check_command(*command)
        except (SystemExit, AssertionError) as error:
            raise AssertionError(shlex.join(command)) from error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_config_is_good(page):
    for text in blocks(page, "json"):
        config = json.loads(text if text.startswith("{") else f"{{{text}}}")
        if "algorithm" in config:
            parse_slb_config(config)
        else:
            validate_nncf_config(config)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in RUN_ELSEWHERE], ids=lambda page: page.name)
def test_every_program_is_one_that_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nncf_slb.hosts.torch.post_training.Recipe", functools.partial(Recipe, steps=20))  # by default
    torch.manual_seed(0)
    images = torch.randn(40, 1, 8, 8)
    loader = [(images, torch.arange(40) % 10)]
    names = {"nncf_slb": nncf_slb, "torch": torch, "openvino": ov, "images": images, "epochs": 1, "Network": DigitsNet}
    names |= {"train_loader": loader, "criterion": torch.nn.functional.cross_entropy}
    for program in blocks(page, "python"):
        prepare(names, loader)
        exec(compile(program, page.name, "exec"), names)


def prepare(names, loader):
    """What a program of the docs finds: a network, a config, a controller and a file."""
    names["model"] = DigitsNet().eval()
    config = {"input_info": {"sample_size": [1, 1, 8, 8]}, "epochs": 1, "compression": {"algorithm": "slb"}}
    Path("config.json").write_text(json.dumps(config))
    names["ctrl"], searched = nncf_slb.create_compressed_model(DigitsNet(), config, loader, host="torch")
    for name in ("fixed.xml", "w3.xml"):
        names["ctrl"].export_model(name)
    assert searched is not None
