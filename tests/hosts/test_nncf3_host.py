"""The host `nncf3`: NNCF's function hooks."""

import pytest

from nncf_slb.hosts.installed import has_function_hooks

if not has_function_hooks():
    pytest.skip("NNCF 3 is not installed: make test runs these in an environment of their own", allow_module_level=True)

from tests.hosts.contract import PlainHostContract


class TestNNCF3(PlainHostContract):
    host = "nncf3"
