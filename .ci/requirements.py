"""Prints what a wheel requires without extras, one line each: python .ci/requirements.py dist/*.whl."""

import sys
import zipfile
from email.parser import Parser

with zipfile.ZipFile(sys.argv[1]) as wheel:
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    required = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist", [])
print("\n".join(line for line in required if "extra ==" not in line))
