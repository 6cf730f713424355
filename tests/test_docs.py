"""The README's code runs, its picture is what the package computes, and links lead somewhere."""

import ast
import json
import re
import runpy
from pathlib import Path

import pytest
import torch

import nncf_slb
from nncf_slb.commands.parser import make_parser
from nncf_slb.config.section import validate_nncf_config
from nncf_slb.version import __version__
from tests.plain_networks import DigitsNet

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """Names that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.*)", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_readme_fits_and_names_both_commands_on_its_first_screen():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    first_screen = "\n".join(lines[:20])
    assert "make test" in first_screen and "make quickstart" in first_screen


def test_readmes_code_runs_and_prints_its_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _, code = blocks(README, "python")
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    layers = [line.split()[:6] for line in printed if " u2 " in line]  # behind these, what the machine runs
    size = next(line for line in printed if line.startswith(".bin"))
    shown = README.read_text(encoding="utf-8").splitlines()
    assert layers == [line.split()[:6] for line in shown if " u2 " in line] and len(layers) == 2
    assert size in shown


def trained_for_docs():
    torch.manual_seed(0)
    return DigitsNet().eval(), torch.randn(60, 1, 8, 8)


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "post-training.md"], ids=lambda page: page.name)
def test_code_of_a_search_without_labels_runs_on_a_network_and_images(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model, images = trained_for_docs()
    exec(compile(blocks(page, "python")[0], page.name, "exec"), {"model": model, "images": images})
    assert (tmp_path / "model.xml").exists() and "model.xml" in capsys.readouterr().out


def test_the_config_and_the_command_of_a_search_without_labels_are_good():
    page = ROOT / "docs" / "post-training.md"
    (text,) = blocks(page, "json")
    validate_nncf_config(json.loads(text))
    commands = re.findall(r"^nncf-slb (quantize .*)$", page.read_text(encoding="utf-8"), re.M)
    assert commands and all(make_parser().parse_args(command.split()) for command in commands)


def test_readmes_config_is_good():
    (text,) = blocks(README, "json")
    validate_nncf_config({"compression": json.loads(text)})


def test_readmes_picture_is_what_its_script_draws():
    script = ROOT / "docs" / "images" / "way_of_a_weight.py"
    module = runpy.run_path(str(script))
    assert module["draw"]() == module["PICTURE"].read_text(encoding="utf-8"), f"run: python {script}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_citation_names_this_version():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def messages_of_the_code():
    """Texts of the package's code, with a mark where a value is put in."""
    for path in (ROOT / "nncf_slb").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_each_message_of_the_troubleshooting_page_is_one_of_the_code():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `(.*?)` \|", page, re.M)
    texts = list(messages_of_the_code())
    for message in quoted:
        pattern = re.compile(".*?".join(map(re.escape, message.split("..."))), re.DOTALL)
        assert any(map(pattern.search, texts)), message
    assert len(quoted) > 40


def test_the_api_page_has_every_public_name():
    shown = re.findall(r"^::: (nncf_slb\.[\w.]+)", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.M)
    places = {f"nncf_slb.{module}.{name}" for name, module in nncf_slb._PLACES.items()}
    assert places <= set(shown)


def test_the_figure_of_the_expected_weight_is_drawn(tmp_path):
    module = runpy.run_path(str(ROOT / "docs" / "images" / "expected_weight.py"))
    module["draw"](tmp_path / "drawn.svg")
    texts = [
        set(re.findall(r">([^<\n]+)</text>", picture.read_text()))
        for picture in (module["PICTURE"], tmp_path / "drawn.svg")
    ]
    assert texts[0] == texts[1] and "expected weight" in texts[0]
