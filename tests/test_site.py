"""The site builds without a warning, loads nothing from a network, and has a search that needs no server."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
if importlib.util.find_spec("mkdocs") is None:
    pytest.skip("needs the extra docs: make docs installs it", allow_module_level=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return folder


def test_nothing_comes_from_a_network(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*?\ssrc=[\"']?([^\"'\s>]+)", text)
        loaded += re.findall(r"<link[^>]*?\shref=[\"']?([^\"'\s>]+)", text)
        assert not [url for url in loaded if re.match(r"(https?:)?//", url)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet


def test_pages_link_to_files_that_are_there(site):
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for link in re.findall(r"<(?:a|link)[^>]*?\shref=[\"']?([^\"'\s>]+)", page.read_text(encoding="utf-8")):
            file = link.partition("#")[0]
            assert not file or ":" in file or (page.parent / file).exists(), f"{page.name}: {link}"


def test_search_needs_no_server_and_finds_settings_and_functions(site):
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    places = {entry["location"] for entry in json.loads(index.removeprefix("var __index = "))["docs"]}
    assert {"post-training.html#choices", "api.html#nncf_slb.hosts.torch.post_training.search_post_training"} <= places
    assert 'src="javascripts/iframe-worker.js"' in (site / "index.html").read_text(encoding="utf-8")


def test_lists_and_tables_behind_plain_text_are_lists_and_tables(site):
    changes = (site / "CHANGELOG.html").read_text(encoding="utf-8")
    results = (site / "results.html").read_text(encoding="utf-8")
    assert "<p>Without labels:</p>\n<ul>" in changes
    assert "begin --" not in results and "| ---" not in results and "|---" not in results
