"""NNCF's accuracy-aware training loops with a search, as their users write them."""

import sys
import types

import pytest
import torch
from nncf.api.compression import CompressionStage

import nncf_slb
from tests.networks import Small, compress, digits, make_config

SIZE = [1, 1, 8, 8]
FLOAT_ACCURACY = 100.0


def aware_config(mode, slb=None, others=(), **params):
    params = {"maximal_absolute_accuracy_degradation": 1, **params}
    return make_config(SIZE, slb, others, accuracy_aware_training={"mode": mode, "params": params})


@pytest.fixture
def create_loop(monkeypatch):
    """NNCF's own function; its module imports torchvision, for pictures in TensorBoard that these loops do not draw."""
    if "torchvision" not in sys.modules:
        transforms = types.ModuleType("torchvision.transforms")
        transforms.ToTensor = None
        monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
        monkeypatch.setitem(sys.modules, "torchvision.transforms", transforms)
    from nncf.common.accuracy_aware_training import create_accuracy_aware_training_loop

    return create_accuracy_aware_training_loop


class Loop:
    """One training: what it was told, in the order of the epochs."""

    def __init__(self, create_loop, config, folder, accuracy=lambda stage: 50.0):
        self.loader, _, _ = digits()
        self.ctrl, self.model = compress(Small(), config, self.loader)
        self.stages, self.temperatures = [], []
        self.accuracy = accuracy
        loop = create_loop(config, self.ctrl, FLOAT_ACCURACY, verbose=False)
        self.trained = loop.run(
            self.model,
            train_epoch_fn=self.train_epoch,
            validate_fn=lambda model, epoch=None: self.accuracy(self.ctrl.compression_stage()),
            configure_optimizers_fn=lambda: (torch.optim.SGD(self.model.parameters(), 0.01, momentum=0.9), None),
            log_dir=str(folder),
        )

    def train_epoch(self, ctrl, model, epoch=None, optimizer=None, lr_scheduler=None):
        model.train()
        for images, labels in self.loader:
            ctrl.scheduler.step()
            loss = torch.nn.functional.cross_entropy(model(images), labels) + ctrl.loss()
            optimizer.zero_grad(set_to_none=False)
            loss.backward()
            optimizer.step()
        self.stages.append(ctrl.compression_stage())
        self.temperatures.append(ctrl.statistics().slb.inverse_temperature)
        return float(loss.detach())


@pytest.mark.parametrize("epochs", [1, 3])
def test_early_exit_searches_within_the_epochs_of_the_loop(epochs, tmp_path, create_loop):
    loop = Loop(create_loop, aware_config("early_exit", maximal_total_epochs=epochs), tmp_path)
    assert len(loop.stages) == epochs and loop.stages[-1] is CompressionStage.FULLY_COMPRESSED
    assert loop.temperatures[-1] == 20


def test_early_exit_ends_with_the_first_fully_compressed_network_that_is_good_enough(tmp_path, create_loop):
    full = CompressionStage.FULLY_COMPRESSED
    config = aware_config("early_exit", maximal_total_epochs=6)
    loop = Loop(create_loop, config, tmp_path, accuracy=lambda stage: 100.0 if stage is full else 99.5)
    assert loop.stages.index(full) == len(loop.stages) - 1


def test_epochs_of_the_config_hold_where_the_loop_may_train_longer(tmp_path, create_loop):
    config = aware_config("early_exit", maximal_total_epochs=6)
    config["epochs"] = 2
    loop = Loop(create_loop, config, tmp_path)
    assert [stage is CompressionStage.FULLY_COMPRESSED for stage in loop.stages] == [False] + [True] * 5


SPARSITY = {
    "algorithm": "magnitude_sparsity",
    "ignored_scopes": ["{re}(first|second)"],
    "params": {"schedule": "multistep", "multistep_steps": [1], "multistep_sparsity_levels": [0.1, 0.2]},
}


def test_the_search_is_over_when_the_adaptive_loop_takes_the_scheduler_away(tmp_path, create_loop):
    def config():
        slb, epochs = {"ignored_scopes": ["{re}head"]}, {"initial_training_phase_epochs": 2, "maximal_total_epochs": 5}
        return aware_config("adaptive_compression_level", slb, [SPARSITY], **epochs, patience_epochs=1)

    loop = Loop(create_loop, config(), tmp_path, accuracy=lambda stage: 100.0)
    assert len(loop.stages) > 2
    assert all(temperature == 20 for temperature in loop.temperatures[1:])
    loop.ctrl.export_model(str(tmp_path / "m.xml"))


def test_a_search_that_was_ended_stays_so_where_it_goes_on():
    ctrl, _ = compress(Small(), make_config(SIZE))
    ctrl.scheduler.epoch_step()
    ctrl.disable_scheduler()
    assert ctrl.compression_stage() is CompressionStage.FULLY_COMPRESSED
    resumed, _ = compress(Small(), make_config(SIZE), state=ctrl.get_compression_state())
    resumed.scheduler.epoch_step()
    resumed.scheduler.step()
    assert resumed.compression_stage() is CompressionStage.FULLY_COMPRESSED
    assert resumed.statistics().slb.inverse_temperature == 20


@pytest.mark.parametrize("epochs", [4, 100])
def test_a_schedule_longer_than_the_loop_is_refused(epochs):
    with pytest.raises(nncf_slb.ConfigError, match=rf"params.epochs: received {epochs}; allowed: at most 3"):
        aware_config("early_exit", {"params": {"epochs": epochs}}, maximal_total_epochs=3)


def test_compression_rate_is_the_share_of_bits_saved():
    ctrl, _ = compress(Small(), make_config(SIZE, {"weights": {"bits": 2, "edges": 8}}))
    weights = {name: p.numel() for name, p in Small().named_parameters() if p.dim() > 1}
    bits = {"first.weight": 8, "second.weight": 2, "head.weight": 8}
    kept = sum(bits[name] * count for name, count in weights.items()) / (32 * sum(weights.values()))
    assert ctrl.compression_rate == pytest.approx(1 - kept)
    with pytest.raises(nncf_slb.SLBError, match="compression_rate: received 0.5"):
        ctrl.compression_rate = 0.5
