"""Stripped networks: plain PyTorch that computes what the compressed network did."""

import copy
import io
import subprocess
import sys

import pytest
import torch

from nncf_slb.search.searchable import searchable_weights
from tests.integration.exported import images, searched_mixed
from tests.networks import Mixed, Small, compress, digits, make_config, train


def test_stripped_model_is_plain_torch_with_integer_codes():
    ctrl, _ = searched_mixed({"bits": 3})
    stripped = ctrl.strip()
    assert type(stripped) is Mixed
    assert not [m for m in stripped.modules() if type(m).__module__.startswith("nncf.")]
    assert isinstance(stripped.grouped, torch.nn.Conv2d)
    assert stripped.grouped.codes.dtype == torch.uint8 and int(stripped.grouped.codes.max()) <= 7
    assert stripped.grouped.values.tolist() == [-7, -5, -3, -1, 1, 3, 5, 7]
    assert "grouped.weight" not in dict(stripped.named_parameters())


def test_stripped_model_loads_and_runs_without_nncf(tmp_path):
    ctrl, _model = searched_mixed({"bits": 2})
    torch.save(ctrl.strip().grouped, tmp_path / "layer.pth")
    torch.save(images(), tmp_path / "x.pth")
    code = f"""
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "nncf" else real(name, *a)
import torch
layer = torch.load({str(tmp_path / "layer.pth")!r}, weights_only=False)
print(float(layer(torch.ones(1, 8, 4, 4)).sum()), "nncf" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert result[1] == "False"
    expected = float(ctrl.strip().grouped(torch.ones(1, 8, 4, 4)).sum())
    assert float(result[0]) == pytest.approx(expected, rel=1e-5)


def test_state_dict_of_a_stripped_model_round_trips_with_weights_only():
    ctrl, _model = searched_mixed({"bits": 2})
    stripped, buffer = ctrl.strip(), io.BytesIO()
    torch.save(stripped.state_dict(), buffer)
    buffer.seek(0)
    other = ctrl.strip()
    other.grouped.codes.zero_()
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(images()), stripped(images()))


def test_a_composite_stripped_straight_after_training_has_the_discrete_networks_statistics():
    results = []
    for evaluated_first in (True, False):
        torch.manual_seed(0)
        loader, x, _ = digits()
        quantization = {"algorithm": "quantization", "initializer": {"range": {"num_init_samples": 50}}}
        quantization["ignored_scopes"] = ["Small/NNCFConv2d[second]/conv2d_0"]
        section = {"weights": {"bits": 1}, "ignored_scopes": ["{re}first", "{re}head"]}
        ctrl, model = compress(Small(), make_config([50, 1, 8, 8], section, [quantization]), loader)
        train(ctrl, model, loader, 1)
        if evaluated_first:
            model(x)
        results.append(ctrl.strip().eval()(x))
    assert torch.equal(*results)


def test_copies_share_logits_only_where_that_is_asked_for():
    ctrl, model = searched_mixed({"bits": 2})
    (search,) = {searchable.search for searchable in ctrl.searchable_weights.values()}
    own = decisive(model)
    with search.sharing_copies():
        assert decisive(copy.deepcopy(model)) == own
    other = copy.deepcopy(model)
    assert not set(own) & set(decisive(other))
    assert torch.equal(other(images()), model(images()))
    assert ctrl.strip().grouped.codes.data_ptr() not in own


def decisive(model):
    return [searchable.descent.decisive.data_ptr() for searchable in searchable_weights(model)]


class EveryKind(torch.nn.Module):
    """Each kind of layer that has a low-bit class."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8)
        self.up, self.linear = nn.ConvTranspose2d(8, 8, 2, 2, groups=2), nn.Linear(8, 4)
        self.conv1d, self.up1d = nn.Conv1d(4, 4, 1), nn.ConvTranspose1d(4, 4, 2, 2)
        self.conv3d, self.up3d = nn.Conv3d(1, 2, 1), nn.ConvTranspose3d(2, 1, 1)

    def forward(self, x):
        y = self.up(self.norm(self.conv(x)).relu())
        z = self.linear(y.mean((2, 3)))
        return self.up1d(self.conv1d(z[:, :, None])), self.up3d(self.conv3d(y[:, :1, None]))


@pytest.mark.parametrize("activations", [32, 8, 1])
def test_torchscript_and_pickle_take_a_stripped_network(activations, tmp_path):
    torch.manual_seed(0)
    size = [2, 3, 8, 8]
    ctrl, model = compress(EveryKind(), make_config(size, {"activations": {"bits": activations}}))
    x = torch.randn(size)
    model.train()(x)
    expected = model.eval()(x)
    stripped = ctrl.strip().eval()
    torch.jit.save(torch.jit.script(stripped), str(tmp_path / "scripted.pt"))
    torch.save(stripped, tmp_path / "pickled.pt")
    for again in (torch.jit.load(tmp_path / "scripted.pt"), torch.load(tmp_path / "pickled.pt", weights_only=False)):
        for ours, reference in zip(again(x), expected, strict=True):
            assert torch.equal(ours, reference)
    assert stripped.conv.codes.dtype == torch.uint8


class Padded(torch.nn.Conv2d):
    """A class of the user's own."""

    def forward(self, x):
        return super().forward(torch.nn.functional.pad(x, (0, 1, 0, 1)))


@pytest.mark.parametrize("activations", [32, 8])
def test_layers_of_the_users_classes_stay_what_they_are(activations, tmp_path):
    torch.manual_seed(0)
    size = [2, 3, 8, 8]
    network = torch.nn.Sequential(Padded(3, 8, 2), torch.nn.ReLU(), Padded(8, 4, 2))
    ctrl, model = compress(network, make_config(size, {"activations": {"bits": activations}}))
    x = torch.randn(size)
    model.train()(x)
    expected = model.eval()(x)
    stripped = ctrl.strip().eval()
    torch.save(stripped, tmp_path / "pickled.pt")
    for again in (stripped, copy.deepcopy(stripped), torch.load(tmp_path / "pickled.pt", weights_only=False)):
        assert isinstance(again[0], Padded) and torch.equal(again(x), expected)
