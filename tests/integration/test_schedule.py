"""The temperature over epochs and steps, through NNCF's own functions."""

import pytest
from nncf.api.compression import CompressionStage

from tests.integration.test_search import SIZE, schedule
from tests.networks import Small, compress, digits, make_config


def test_stage_follows_the_schedule():
    ctrl, _ = compress(Small(), make_config(SIZE, schedule()))
    stages = [ctrl.compression_stage()]
    for _ in range(4):
        ctrl.scheduler.epoch_step()
        stages.append(ctrl.compression_stage())
    a, b, c = CompressionStage.UNCOMPRESSED, CompressionStage.PARTIALLY_COMPRESSED, CompressionStage.FULLY_COMPRESSED
    assert stages == [a, a, b, b, c]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"inverse_temperature_end": 16.0}, [1, 1, 4, 16]),
        ({"inverse_temperature_end": 17.0, "schedule": "linear"}, [1, 1, 9, 17]),
        ({"inverse_temperature_factor": 3.0}, [1, 1, 3, 9]),
    ],
)
def test_temperature_changes_each_epoch(params, expected):
    ctrl, _ = compress(Small(), make_config(SIZE, schedule(**params)))
    seen = []
    for _ in range(4):
        ctrl.scheduler.epoch_step()
        seen.append(ctrl.scheduler.inverse_temperature)
    assert seen == pytest.approx(expected)


def test_temperature_can_change_each_step():
    params = {"update_per_optimizer_step": True, "inverse_temperature_end": 17.0, "schedule": "linear"}
    ctrl, _ = compress(Small(), make_config(SIZE, schedule(**params)))
    seen = []
    for _ in range(3):
        ctrl.scheduler.epoch_step()
        for _ in range(4):
            ctrl.scheduler.step()
            seen.append(ctrl.scheduler.inverse_temperature)
    assert seen == pytest.approx([1, 1, 1, 1, 1, 3, 5, 7, 9, 11, 13, 15])


def test_steps_of_an_epoch_come_from_the_registered_loader_then_from_counting():
    loader, _, _ = digits()
    params = {"inverse_temperature_end": 17.0, "schedule": "linear", "start_epoch": 0, "end_epoch": 2}
    ctrl, _ = compress(Small(), make_config(SIZE, schedule(**params)), loader)
    seen = []
    for _ in range(2):
        ctrl.scheduler.epoch_step()
        for _ in range(2 * len(loader)):  # as if the registered loader had half of the training batches
            ctrl.scheduler.step()
            seen.append(ctrl.scheduler.inverse_temperature)
    first, second = seen[: 2 * len(loader)], seen[2 * len(loader) :]
    assert first == pytest.approx([1 + 8 * min(step / len(loader), 1) for step in range(2 * len(loader))])
    assert second == pytest.approx([9 + 8 * step / (2 * len(loader)) for step in range(2 * len(loader))])


@pytest.mark.parametrize("before", [11, 100])
def test_a_checkpoint_from_within_an_epoch_leaves_the_length_of_the_next_one(before):
    params = {"inverse_temperature_end": 17.0, "schedule": "linear", "start_epoch": 0, "end_epoch": 4, "epochs": 5}
    ctrl, _ = compress(Small(), make_config(SIZE, schedule(**params)))
    for steps in (100, before):
        ctrl.scheduler.epoch_step()
        for _ in range(steps):
            ctrl.scheduler.step()
    resumed, _ = compress(Small(), make_config(SIZE, schedule(**params)), state=ctrl.get_compression_state())
    resumed.scheduler.epoch_step()
    for _ in range(51):
        resumed.scheduler.step()
    assert resumed.scheduler.inverse_temperature == pytest.approx(1 + 4 * 2.5)


def test_an_epoch_that_is_gone_on_with_from_a_checkpoint_is_counted_whole():
    params = {"inverse_temperature_end": 17.0, "schedule": "linear", "start_epoch": 0, "end_epoch": 4, "epochs": 5}
    ctrl, _ = compress(Small(), make_config(SIZE, schedule(**params)))
    ctrl.scheduler.epoch_step()
    for _ in range(4):
        ctrl.scheduler.step()
    resumed, _ = compress(Small(), make_config(SIZE, schedule(**params)), state=ctrl.get_compression_state())
    for _ in range(6):
        resumed.scheduler.step()
    resumed.scheduler.epoch_step()
    for _ in range(6):
        resumed.scheduler.step()
    assert resumed.scheduler.inverse_temperature == pytest.approx(1 + 4 * 1.5)
