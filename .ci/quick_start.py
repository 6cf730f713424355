"""Runs a program of docs/quick-starts.md away from the sources: python .ci/quick_start.py plain_pytorch.py."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "quick-starts.md"

with tempfile.TemporaryDirectory() as folder:
    for code in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        Path(folder, code.split()[1]).write_text(code)
    sys.exit(subprocess.run([sys.executable, sys.argv[1]], cwd=folder).returncode)
