"""A compression state that is damaged, or of another search, is an error of the package that names what is wrong."""

import copy

import pytest
import torch

import nncf_slb
from nncf_slb.hosts.installed import has_builders
from tests.plain_networks import DigitsNet

HOSTS = ["torch", *(["nncf2"] if has_builders() else [])]
CONFIG = {
    "input_info": {"sample_size": [1, 1, 8, 8]},
    "epochs": 4,
    "compression": {
        "algorithm": "slb", "openvino": {"dry_export": False},
        "weights": {"bits": "auto", "budget": {"mean_bits": 2.5, "samples": 20}},
    },
}  # fmt: skip


def create(host, **settings):
    torch.manual_seed(0)
    loader = [(torch.randn(20, 1, 8, 8), torch.zeros(20))]
    return nncf_slb.create_compressed_model(DigitsNet(), CONFIG, loader, host=host, **settings)


@pytest.fixture(scope="module", params=HOSTS)
def made(request):
    """A host, and the state of a search in it."""
    ctrl, _ = create(request.param)
    ctrl.scheduler.epoch_step()
    ctrl.scheduler.step()
    return request.param, ctrl.get_compression_state()


def scheduler(**changes):
    return lambda state: state["ctrl_state"]["slb"]["scheduler_state"].update(changes)


def chosen(state):
    return state["builder_state"]["slb"]


def meaning(**changes):
    return lambda state: next(iter(chosen(state)["meanings"].values())).update(changes)


DAMAGES = {
    "empty": dict.clear,
    "no builder_state": lambda state: state.pop("builder_state"),
    "no ctrl_state": lambda state: state.pop("ctrl_state"),
    "surplus part": lambda state: state.update(more={}),
    "builder_state is a list": lambda state: state.update(builder_state=[]),
    "builder_state without slb": lambda state: state["builder_state"].clear(),
    "ctrl_state without slb": lambda state: state["ctrl_state"].clear(),
    "another algorithm": lambda state: state["builder_state"].update(rb_sparsity={}),
    "ctrl_state is None": lambda state: state.update(ctrl_state=None),
    "slb is None": lambda state: state["builder_state"].update(slb=None),
    "no scheduler_state": lambda state: state["ctrl_state"]["slb"].pop("scheduler_state"),
    "scheduler_state is a list": lambda state: state["ctrl_state"]["slb"].update(scheduler_state=[1]),
    "no current_step": lambda state: state["ctrl_state"]["slb"]["scheduler_state"].pop("current_step"),
    "surplus in scheduler_state": scheduler(more=1),
    "current_epoch is text": scheduler(current_epoch="1"),
    "current_epoch is a fraction": scheduler(current_epoch=1.5),
    "current_epoch is true": scheduler(current_epoch=True),
    "current_step is negative": scheduler(current_step=-2),
    "current_step is NaN": scheduler(current_step=float("nan")),
    "step_in_epoch is None": scheduler(step_in_epoch=None),
    "steps_per_epoch is 0": scheduler(steps_per_epoch=0),
    "steps_per_epoch is a tensor": scheduler(steps_per_epoch=torch.tensor(3)),
    "stage is text": lambda state: state["ctrl_state"]["slb"].update(compression_stage="done"),
    "stage is 7": lambda state: state["ctrl_state"]["slb"].update(compression_stage=7),
    "bits is a list": lambda state: chosen(state).update(bits=[2]),
    "bits are text": lambda state: chosen(state)["bits"].update(dict.fromkeys(chosen(state)["bits"], "two")),
    "bits are 9": lambda state: chosen(state)["bits"].update(dict.fromkeys(chosen(state)["bits"], 9)),
    "bits of one layer are missing": lambda state: chosen(state)["bits"].popitem(),
    "bits of another search": lambda state: chosen(state)["bits"].update(dict.fromkeys(chosen(state)["bits"], 1)),
    "sensitivities are numbers": lambda state: chosen(state).update(sensitivities={"a": 1.0}),
    "a sensitivity is infinite": lambda state: chosen(state).update(sensitivities={"a": {2: float("inf")}}),
    "meanings is a list": lambda state: chosen(state).update(meanings=[]),
    "a meaning lacks its step": lambda state: next(iter(chosen(state)["meanings"].values())).pop("step"),
    "values are text": meaning(values=["a"]),
    "values of another search": meaning(values=[-1.0, 1.0]),
    "sharpness is NaN": meaning(sharpness=float("nan")),
    "sharpness of another search": meaning(sharpness=3.0),
    "layers of another network": lambda state: chosen(state).update(
        meanings={f"other{k}": each for k, each in enumerate(chosen(state)["meanings"].values())}
    ),
    "surplus in slb": lambda state: chosen(state).update(more=1),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_state_is_an_error_of_the_package(made, name):
    host, state = made
    damaged = copy.deepcopy(state)
    DAMAGES[name](damaged)
    with pytest.raises(nncf_slb.SLBError, match=r"compression|stat"):
        create(host, compression_state=damaged)


@pytest.mark.parametrize("state", [[], "state", 3, torch.zeros(2)], ids=lambda state: type(state).__name__)
def test_what_is_no_state_is_an_error_of_the_package(made, state):
    with pytest.raises(nncf_slb.SettingError, match="compression_state"):
        create(made[0], compression_state=state)


def test_a_state_goes_on(made):
    host, state = made
    assert create(host, compression_state=copy.deepcopy(state))[0].get_compression_state() == state
