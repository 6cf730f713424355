"""Generated parts of hand-written documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nncf_slb.files import new_file


def write_between_markers(file: Path, name: str, text: str) -> None:
    """Replace what stands between the lines ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` of a file.

    Raises:
        ValueError: If the file lacks a marker.
    """
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    whole = file.read_text()
    before, begin, rest = whole.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"{file}: the lines {first} and {last} are needed; the text goes between them")
    with new_file(file) as partial:
        partial.write_text(f"{before}{first}\n{text}\n{last}{after}")


def page_of(key: str, names: Sequence[str], docs: Path) -> Path:
    """``results.md`` where it has a place for the first of some names, else a page of their own, made where missing.

    Args:
        key: Name of a study, for its own page's name and title.
        names: Names of the generated parts, as in `write_between_markers`.
        docs: Folder of the pages.
    """
    page = docs / "results.md"
    if f"<!-- {names[0]}: begin -->" in page.read_text():
        return page
    own = docs / f"results_{key}.md"
    if not own.exists():
        lines = [f"# {key}", "What is measured how: [results](results.md)."]
        for name in names:
            lines += [f"## {name.removeprefix(key).strip()}", f"<!-- {name}: begin -->\n<!-- {name}: end -->"]
        with new_file(own) as partial:
            partial.write_text("\n\n".join([*lines, ""]))
    return own
