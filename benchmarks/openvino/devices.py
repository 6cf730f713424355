"""The rules of devices in the docs, one line each with its source.

python -m benchmarks.openvino.devices docs/devices.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.documents import write_between_markers
from nncf_slb.openvino.device_rules import RULES
from nncf_slb.tables import markdown_table

NAME = "device rules"


def table() -> str:
    """All rules."""
    rows = [[", ".join(rule.devices), rule.text, rule.source] for rule in RULES]
    return markdown_table(["target_device", "rule", "source"], rows, "lll")


def main(arguments: list[str] | None = None) -> int:
    """Write the table between its markers."""
    (page,) = sys.argv[1:] if arguments is None else arguments
    write_between_markers(Path(page), NAME, table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
