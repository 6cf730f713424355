"""Generated parts of hand-written documents."""

from __future__ import annotations

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
