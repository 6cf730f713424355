"""The host `nncf2`: NNCF 2.19's builders and controllers, through the entry that all hosts share."""

import pytest

from nncf_slb.hosts.installed import has_builders

if not has_builders():
    pytest.skip("NNCF 2.19 is not installed", allow_module_level=True)

import torch

import nncf_slb
from nncf_slb.errors import DataError
from nncf_slb.hosts.model_checks import ModelError
from tests.hosts.contract import HostContract
from tests.hosts.subjects import batches, outputs

KINDS = {"head": ("Linear", "linear"), "stem": ("Conv2d", "conv2d")}


class TestNNCF2(HostContract):
    host = "nncf2"

    def scope(self, layer):
        kind, function = KINDS.get(layer, KINDS["stem"])
        return f"Residual/NNCF{kind}[{layer}]/{function}_0"

    def checkpoint_types(self):
        return nncf_slb.CHECKPOINT_TYPES

    def name_elsewhere(self, name):
        return name.split("[")[1].split("]")[0]

    def test_an_iterator_that_nncf_cannot_copy_is_an_error(self):
        with pytest.raises(DataError, match="received generator, which runs once"):
            self.create(loader=(batch for batch in batches()))

    def test_compiling_the_searched_network_names_the_host_that_allows_it(self):
        ctrl, model = self.create()
        with pytest.raises(ModelError, match='host="torch"'):
            torch.compile(model, backend="eager")
        compiled = torch.compile(ctrl.strip(), backend="eager")
        assert torch.allclose(outputs(compiled), outputs(model), atol=1e-6)
