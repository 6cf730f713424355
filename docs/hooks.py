"""What the site needs beside MkDocs: pages from outside ``docs/``, and Markdown as GitHub reads it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "samples" / "notebooks").glob("*.ipynb"))
MEASURED = sorted((ROOT / "benchmarks").glob("*/results/*.md"))
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", *(path.relative_to(ROOT).as_posix() for path in MEASURED))
_ITEM = re.compile(r"\s*([-*]|\d+\.) ")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside ``docs/``, and the notebooks as pages."""
    for name in OUTSIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    for notebook in NOTEBOOKS:
        page = notebook.relative_to(ROOT).with_suffix(".md")
        parts: list[str] = []
        for kind, content in _cells(json.loads(notebook.read_text(encoding="utf-8"))):
            if kind == "picture":
                picture = page.with_name(f"{page.stem}_{len(parts)}.png")
                files.append(File.generated(config, picture.as_posix(), content=base64.b64decode(content)))
                parts.append(f"![Drawn by the lines above]({picture.name})")
            else:
                parts.append(content if kind == "markdown" else f"```{kind}\n{content}\n```")
        files.append(File.generated(config, page.as_posix(), content="\n\n".join(parts)))
    return files


def _cells(notebook: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Kind (``markdown``, ``python``, ``text`` or ``picture``) and content of what a notebook shows, in order."""
    for cell in notebook["cells"]:
        yield ("markdown" if cell["cell_type"] == "markdown" else "python"), "".join(cell["source"])
        for output in cell.get("outputs", []):
            if "text" in output:
                yield "text", "".join(output["text"]).rstrip()
            elif "image/png" in output.get("data", {}):
                yield "picture", "".join(output["data"]["image/png"])


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from and to pages outside ``docs/``, and what GitHub's Markdown has that Python's lacks."""
    markdown = markdown.replace("](../", "](").replace("](docs/", "](").replace(".ipynb)", ".md)")
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
