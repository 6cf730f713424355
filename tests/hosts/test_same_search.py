"""The same network, data, config and seed through the hosts of an environment: the same codes, the same file."""

import pytest
import torch

import nncf_slb
from nncf_slb.hosts.installed import has_builders, has_function_hooks
from nncf_slb.hosts.resuming import plain_path
from nncf_slb.search.searchable import searchable_weights
from tests.hosts.subjects import batches, codes, network, settings, train

OTHER = "nncf2" if has_builders() else "nncf3"
if not (has_builders() or has_function_hooks()):
    pytest.skip("there is one host only without NNCF", allow_module_level=True)
SETTINGS = [
    {"weights": {"bits": 1}},
    {"weights": {"bits": 2}, "params": {"batchnorm": "state"}},
    {"weights": {"bits": 4}, "params": {"descent": "gradient"}},
    {"weights": {"bits": 2}, "activations": {"bits": 4}},
]


def searched(host, epochs, config):
    ctrl, model = nncf_slb.create_compressed_model(network(), settings(**config), batches(), host=host)
    torch.manual_seed(0)
    train(ctrl, model, epochs)
    return ctrl, model


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_a_training_in_plain_torch_ends_with_the_codes_of_the_other_host(config, tmp_path):
    one, _ = searched("torch", 3, config)
    two, _ = searched(OTHER, 3, config)
    first, second = codes(one.strip()), codes(two.strip())
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name, ctrl in (("one", one), ("two", two)):
        ctrl.export_model(str(tmp_path / f"{name}.xml"))
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_a_step_moves_all_weights_alike(config):
    latents = []
    for host in ("torch", OTHER):
        ctrl, model = nncf_slb.create_compressed_model(network(), settings(**config), batches()[:1], host=host)
        torch.manual_seed(0)
        train(ctrl, model, 1, data=batches()[:1])
        latents.append([weight.searched.detach() for weight in searchable_weights(model)])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*latents, strict=True))


def test_statistics_speak_of_the_same_layers():
    layers = [searched(host, 1, {})[0].statistics().slb.layers for host in ("torch", OTHER)]
    assert [plain_path(layer.name) for layer in layers[0]] == [plain_path(layer.name) for layer in layers[1]]
    assert [layer.histogram for layer in layers[0]] == [layer.histogram for layer in layers[1]]
