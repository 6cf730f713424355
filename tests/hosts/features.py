"""The table of features by host in the docs, from the tests that stand for them.

python -m tests.hosts.features docs/hosts.md
"""

import sys
from pathlib import Path

from benchmarks.documents import write_between_markers
from nncf_slb.tables import markdown_table
from tests.hosts import contract, test_torch_tools

HOSTS = ("nncf2", "nncf3", "torch")
EVERYWHERE, PLAIN, TORCH = HOSTS, ("nncf3", "torch"), ("torch",)


def features():
    """Names of the features, in the order of the tests, and the hosts whose tests assert them."""
    found = {}
    for tests, hosts in (
        (contract.HostContract, EVERYWHERE), (contract.PlainHostContract, PLAIN), (test_torch_tools, TORCH)
    ):  # fmt: skip
        for part in getattr(tests, "__mro__", (tests,)):
            for test in vars(part).values():
                if hasattr(test, "feature"):
                    found.setdefault(test.feature, hosts)
    return found


def table():
    rows = [[name, *("yes" if host in hosts else "" for host in HOSTS)] for name, hosts in features().items()]
    return markdown_table(["tested", *HOSTS], rows, "l" * (1 + len(HOSTS)))


if __name__ == "__main__":
    write_between_markers(Path(sys.argv[1]), "features", table())
