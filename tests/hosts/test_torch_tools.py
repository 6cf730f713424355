"""The host `torch` under what trains and deploys PyTorch networks: compilers, several processes, half precision."""

import copy

import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.errors import SettingError
from nncf_slb.openvino.network import IrNetwork
from tests.hosts.distributed_search import (
    found_by_two_processes,
    make_optimizer,
    one_network,
    plain_network,
    printed_by_two_processes,
    search,
)
from tests.hosts.subjects import EXACT, IMAGES, batches, feature, network, outputs, settings, train


def create(model=None, **slb):
    model = network() if model is None else model
    return nncf_slb.create_compressed_model(model, settings(**slb), batches(), host="torch")


class Compiled(nn.Module):
    """A searched network whose passes are compiled."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.run = torch.compile(model, backend="aot_eager")

    def forward(self, x):
        return self.run(x)


@feature("torch.compile of the searched network")
def test_a_compiled_network_is_searched_as_any_other():
    ctrl, model = create()
    train(ctrl, model, epochs=2)
    other, compiled = create()
    train(other, Compiled(compiled), epochs=2)
    assert torch.allclose(outputs(compiled), outputs(model), atol=1e-5)


@feature("torch.compile and torch.export of the stripped network")
@pytest.mark.parametrize("bits", [32, 4])
def test_a_stripped_network_can_be_compiled_and_exported(bits):
    ctrl, model = create(activations={"bits": bits})
    train(ctrl, model, epochs=1)
    stripped = ctrl.strip()
    expected = outputs(stripped)
    assert torch.allclose(outputs(torch.compile(stripped, backend="aot_eager")), expected, atol=1e-6)
    program = torch.export.export(stripped.eval(), (IMAGES[:8],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.allclose(program.module()(IMAGES[300:400]), expected, atol=1e-6)


DDP = ["ddp, zero redundancy", "ddp, 8-bit inputs", "ddp, search without labels"]
FSDP = ["fsdp", "fsdp in parts", "fsdp, search without labels"]
EXACTLY = "ddp, no batch norm"


@pytest.fixture(scope="module")
def searches():
    """What two processes have found in each mode."""
    return found_by_two_processes("torch", EXACTLY, *DDP, *FSDP)


def test_a_call_of_one_process_alone_ends_in_an_error_that_says_what_to_call():
    printed = printed_by_two_processes("torch", "ddp, one exports")
    assert "process 0 of 2 waited 5 s in vain" in printed and "on every process" in printed


@feature("FSDP (`fully_shard`), `ZeroRedundancyOptimizer`")
@pytest.mark.parametrize("mode", [*DDP, *FSDP])
def test_processes_search_one_network_and_one_process_goes_on_with_it(mode, searches):
    one_network(searches[mode])


def test_two_processes_search_what_one_does_with_their_batches_together(searches):
    ctrl, model = nncf_slb.create_compressed_model(plain_network(), settings(), batches(), host="torch")
    search(model, ctrl, batches(), make_optimizer(model, EXACTLY))
    assert torch.allclose(torch.tensor(searches[EXACTLY]["outputs"]), outputs(model), atol=1e-3)


@feature("bfloat16, float16 and float64 networks")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("bits", [32, 8])
def test_a_network_of_another_floating_point_type_is_searched_and_exported_in_float32(dtype, bits, tmp_path):
    data = [(images.to(dtype), labels) for images, labels in batches()]
    config = {"epochs": 1, "compression": {"algorithm": "slb", "activations": {"bits": bits}}}
    ctrl, model = nncf_slb.create_compressed_model(network().to(dtype), config, data, host="torch")
    train(ctrl, model, epochs=1, optimizer=torch.optim.SGD(model.parameters(), 0.01), data=data)
    stripped = ctrl.strip().eval()
    with torch.no_grad():
        assert torch.equal(stripped(data[0][0]), model.eval()(data[0][0]))
    ctrl.export_model(str(tmp_path / "m.xml"))
    exported = IrNetwork(tmp_path / "m.xml", properties=EXACT)(IMAGES[300:400])
    assert torch.allclose(exported, outputs(copy.deepcopy(stripped).float()), atol=1e-4 if bits == 32 else 0.02)
    assert nncf_slb.verify_openvino(stripped, tmp_path / "m.xml", IMAGES[300:400]).passed


def test_a_state_dict_goes_through_a_file_and_another_network():
    ctrl, model = create(weights={"bits": 4})
    train(ctrl, model, epochs=1)
    _, other = create(network(1), weights={"bits": 4})
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert torch.equal(outputs(other), outputs(model))


def test_a_network_that_no_one_has_seen_running_is_searched_and_says_what_is_not_known(caplog):
    config = {"compression": {"algorithm": "slb"}}
    ctrl, model = nncf_slb.create_compressed_model(network(), config, host="torch")
    assert "was not seen running: there is no example" in caplog.text
    assert len(ctrl.statistics().slb.layers) == 5
    x = torch.zeros(2, 1, 8, 8)
    assert torch.allclose(ctrl.strip().eval()(x), model.eval()(x), atol=1e-6)


def test_what_is_not_known_of_such_a_network_is_an_error_where_it_matters():
    config = {"compression": {"algorithm": "slb", "weights": {"edges": 8}}}
    with pytest.raises(nncf_slb.ConfigError, match=r"edges: received 8 .* there is no example"):
        nncf_slb.create_compressed_model(network(), config, host="torch")
    with pytest.raises(SettingError, match="RuntimeError"):
        nncf_slb.create_compressed_model(network(), config, example_input=torch.zeros(1, 3, 8, 8), host="torch")


def test_factors_of_gradients_hold_for_searched_weights_alone():
    plain, model = create()
    scaled, other = create(compression_lr_multiplier=3.0)
    for ctrl, run in ((plain, model), (scaled, other)):
        ctrl.scheduler.epoch_step()
        ctrl.scheduler.step()
        nn.functional.cross_entropy(run.train()(batches()[0][0]), batches()[0][1]).backward()
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        factor = 3.0 if "parametrizations" in name else 1.0
        assert torch.allclose(two.grad, factor * one.grad, rtol=1e-4, atol=1e-7), name
