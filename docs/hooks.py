"""What the site needs beside MkDocs: pages from outside ``docs/``, and Markdown as GitHub reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/openvino/results/speed.md")
_ITEM = re.compile(r"\s*([-*]|\d+\.) ")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside ``docs/``."""
    for name in OUTSIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from and to pages outside ``docs/``, and what GitHub's Markdown has that Python's lacks."""
    markdown = markdown.replace("](../", "](").replace("](docs/", "](")
    lines: list[str] = []
    in_code = False
    for line in markdown.splitlines():
        in_code ^= line.startswith("```")
        if not in_code and re.fullmatch(r"<!-- .* -->", line):
            line = ""  # a marker of a generated part would swallow the table behind it
        before = lines[-1] if lines else ""
        if not in_code and _ITEM.match(line) and before.strip() and not (_ITEM.match(before) or before.startswith(" ")):
            lines.append("")  # a list interrupts a paragraph
        lines.append(line)
    return "\n".join(lines) + "\n"
