"""The README's code runs, its picture is what the package computes, and links lead somewhere."""

import json
import re
import runpy
from pathlib import Path

import pytest

from nncf_slb.config.section import validate_nncf_config

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def anchors(page):
    """Names that GitHub gives the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)", text, re.M)}


def test_readme_fits_and_names_both_commands_on_its_first_screen():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    first_screen = "\n".join(lines[:20])
    assert "make test" in first_screen and "make quickstart" in first_screen


def test_readmes_code_runs_and_prints_its_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(README, "python")
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    layers = [line.split()[:7] for line in printed if " u2 " in line]  # behind these, what the machine runs
    size = next(line for line in printed if line.startswith(".bin"))
    shown = README.read_text(encoding="utf-8").splitlines()
    assert layers == [line.split()[:7] for line in shown if " u2 " in line] and len(layers) == 2
    assert size in shown


def test_readmes_config_is_good():
    (text,) = blocks(README, "json")
    validate_nncf_config({"compression": json.loads(text)})


def test_readmes_picture_is_what_its_script_draws():
    script = ROOT / "docs" / "images" / "way_of_a_weight.py"
    module = runpy.run_path(str(script))
    assert module["draw"]() == module["PICTURE"].read_text(encoding="utf-8"), f"run: python {script}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
