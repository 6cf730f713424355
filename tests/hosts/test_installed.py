"""Importing the package never fails because of what is installed, and what lacks a host says what to install."""

import subprocess
import sys

import pytest

from nncf_slb.hosts.installed import has_builders, has_function_hooks

WITHOUT_NNCF = """
import importlib.abc, importlib.metadata, sys
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "nncf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
installed = importlib.metadata.version
def version(name):
    if name == "nncf":
        raise importlib.metadata.PackageNotFoundError(name)
    return installed(name)
importlib.metadata.version = version
"""
OTHER_INSTALLATIONS = [pytest.param(WITHOUT_NNCF, "found none", id="none")]
if has_function_hooks():  # make test runs these tests in an environment with NNCF 3 as well
    OTHER_INSTALLATIONS.append(pytest.param("import sys\n", "found 3.", id="3"))
needs_builders = pytest.mark.skipif(not has_builders(), reason="NNCF 2.19 is not installed")
EXPORT = """
import nncf_slb, torch
from nncf_slb.search.runtime import make_low_bit_
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.strip import chosen_codes
from nncf_slb.search.values import make_values
network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)).eval()
for layer in (network[0], network[2]):
    searched = SearchableWeight(layer, make_values("uniform", 2), "per_channel")
    make_low_bit_(layer, chosen_codes(searched), None)
x = torch.randn(2, 3, 8, 8)
nncf_slb.export_openvino(network, PATH, example_input=x)
assert nncf_slb.verify_openvino(network, PATH, x).passed
print(nncf_slb.inspect_openvino(PATH).to_str())
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(("environment", "found"), OTHER_INSTALLATIONS)
def test_all_but_the_host_works_without_nncf_2_19(environment, found, tmp_path):
    done = run(environment + EXPORT.replace("PATH", repr(str(tmp_path / "m.xml"))))
    assert done.returncode == 0, done.stderr
    assert "u2" in done.stdout


@pytest.mark.parametrize(("environment", "found"), OTHER_INSTALLATIONS)
@pytest.mark.parametrize("name", ["SLBStatistics", "UnsupportedLayersError"])
def test_what_lacks_its_host_says_what_to_install(environment, found, name):
    message = run(f"{environment}import nncf_slb; nncf_slb.{name}").stderr.splitlines()[-1]
    assert "MissingHostError" in message and found in message and "pip install 'nncf>=2.19,<2.20'" in message


@pytest.mark.parametrize(("environment", "found"), OTHER_INSTALLATIONS)
@pytest.mark.parametrize("arguments", [["schema"], ["check", "configs/classification/resnet20_cifar10_w1a1.json"]])
def test_the_command_works_without_nncf_2_19(environment, found, arguments):
    done = run(f"{environment}from nncf_slb.cli import main; sys.exit(main({arguments}))")
    assert done.returncode == 0, done.stderr


@needs_builders
def test_the_algorithm_is_registered_as_soon_as_nncf_is_imported():
    code = (
        "import nncf_slb, sys; assert 'nncf' not in sys.modules and 'torch' not in sys.modules; from nncf import "
        "NNCFConfig; NNCFConfig.from_dict({'compression': {'algorithm': 'slb'}}); from nncf.torch.algo_selector import "
        "PT_COMPRESSION_ALGORITHMS as known; assert 'slb' in known.registry_dict"
    )
    assert run(code).returncode == 0


REGISTERED = (
    "from nncf.torch.algo_selector import PT_COMPRESSION_ALGORITHMS as known; assert 'slb' in known.registry_dict"
)


@needs_builders
def test_asking_whether_nncf_is_there_changes_nothing():
    code = f"import nncf_slb, importlib.util; assert importlib.util.find_spec('nncf'); {REGISTERED}"
    assert run(code).returncode == 0


@needs_builders
def test_a_failed_import_of_nncf_is_no_registration_and_the_next_one_is():
    code = (
        "import nncf_slb, sys; sys.modules['networkx'] = None\ntry:\n    import nncf\nexcept ImportError:\n    pass\n"
        f"del sys.modules['networkx']\n{REGISTERED}"
    )
    assert run(code).returncode == 0


@needs_builders
def test_threads_may_import_at_once():
    code = (
        "import nncf_slb, threading, importlib as i; threads = [threading.Thread(target=i.import_module, args=(name,)) "
        "for name in ('nncf', 'nncf.torch')]; [t.start() for t in threads]; [t.join() for t in threads]; " + REGISTERED
    )
    done = run(code)
    assert done.returncode == 0 and "Error" not in done.stderr, done.stderr


NETWORK = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Conv2d(1, 4, 3)
    def forward(self, x):
        return self.a(x)
def create(**host):
    config = {"compression": {"algorithm": "slb"}}
    return nncf_slb.create_compressed_model(Net(), config, example_input=torch.ones(1, 1, 8, 8), **host)[0]
"""
TOO_NEW = "import importlib.metadata; importlib.metadata.version = lambda name: '4.1.0'\n"


def test_an_nncf_of_which_nothing_is_known_is_left_alone():
    done = run(f"{TOO_NEW}import nncf_slb{NETWORK}print(create().host)\ncreate(host='nncf3')")
    assert done.stdout.splitlines()[-1] == "torch"
    assert "MissingHostError" in done.stderr and "found 4.1.0" in done.stderr


OTHER_MODE = "import os; os.environ.pop('NNCF_TORCH_LEGACY_TRACING', None); import nncf.torch; import nncf_slb"


@needs_builders
def test_import_after_nncf_torch_says_what_does_not_work_and_function_hooks_do():
    done = run(f"{OTHER_MODE}{NETWORK}print(create().host)")
    assert "Put 'import nncf_slb' above every import of nncf.torch" in done.stderr
    assert done.stdout.splitlines()[-1] == "nncf3", done.stderr


@needs_builders
def test_a_host_that_this_process_has_no_more_is_an_error_with_the_remedy():
    message = run(f"{OTHER_MODE}{NETWORK}create(host='nncf2')").stderr.splitlines()[-1]
    assert "MissingHostError" in message and "start again" in message
    message = run(f"import nncf_slb{NETWORK}create(host='nncf3')").stderr.splitlines()[-1]
    assert "MissingHostError" in message and "pip install 'nncf>=3.4,<4'" in message


def test_an_nncf_that_is_half_installed_is_named_with_the_remedy():
    host = "nncf2" if has_builders() else "nncf3"
    done = run(f"import sys; sys.modules['networkx'] = None; import nncf_slb{NETWORK}create(host={host!r})")
    message = done.stderr.splitlines()[-1]
    assert "MissingHostError" in message and "cannot be imported" in message and "Install it anew" in message


@pytest.mark.parametrize(("environment", "found"), OTHER_INSTALLATIONS)
def test_the_host_is_chosen_by_what_is_installed(environment, found):
    done = run(f"{environment}import nncf_slb{NETWORK}print(create().host)")
    assert done.stdout.splitlines()[-1] == ("torch" if environment == WITHOUT_NNCF else "nncf3"), done.stderr


@needs_builders
def test_every_public_name_resolves():
    code = "import nncf_slb; [getattr(nncf_slb, name) for name in nncf_slb.__all__]; nncf_slb.nothing"
    assert run(code).stderr.splitlines()[-1] == "AttributeError: module 'nncf_slb' has no attribute 'nothing'"


DEPLOYED = """
import importlib.abc, sys
class TorchAlone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {"nncf", "openvino", "onnx", "pydantic", "jsonschema", "tabulate"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, TorchAlone())
import nncf_slb.strip, torch
from nncf_slb.search.searchable import SearchableWeight
from nncf_slb.search.values import make_values
network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)).eval()
for layer in (network[0], network[2]):
    codes = nncf_slb.strip.chosen_codes(SearchableWeight(layer, make_values("uniform", 2), "per_channel"))
    nncf_slb.strip.make_low_bit_(layer, codes, None)
x = torch.randn(2, 3, 8, 8)
decoded = [coded.values[coded.codes.long()] * coded.scale for coded in nncf_slb.strip.coded_weights(network).values()]
hidden = torch.relu(torch.nn.functional.conv2d(x, decoded[0], network[0].bias))
assert torch.equal(network(x), torch.nn.functional.conv2d(hidden, decoded[1], network[2].bias))
"""


def test_deployed_networks_need_neither_nncf_nor_openvino():
    done = run(DEPLOYED)
    assert done.returncode == 0, done.stderr
