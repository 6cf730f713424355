"""The host `torch`: parametrizations, no NNCF."""

from tests.hosts.contract import PlainHostContract


class TestTorch(PlainHostContract):
    host = "torch"
