"""What a search without labels refuses, in a sentence, before it costs anything."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

from nncf_slb.config.errors import ConfigError
from nncf_slb.errors import DataError, SettingError
from nncf_slb.openvino.low_bit_model import ExportError
from nncf_slb.openvino.network import IrNetwork
from nncf_slb.search.reconstruction import UntrainableError
from tests.hosts.strangers import EXACT, Ends, Signals, TwoFunctionWeights, samples, search


class Waves(TwoFunctionWeights):
    def between(self, x):
        return super().between(x).sin()


@pytest.mark.parametrize("change", ["network", "images", "pass"])
def test_a_checkpoint_of_another_network_or_of_other_images_is_refused(change, tmp_path):
    torch.manual_seed(0)
    network, images, file = TwoFunctionWeights(), samples(), tmp_path / "search.pt"
    search(network, images, checkpoint=file)
    search(network, images, checkpoint=file)
    if change == "pass":  # the parameters are the same
        network.__class__ = Waves
    else:
        with torch.no_grad():
            (network.middle.weight if change == "network" else images)[0, 0] += 1
    with pytest.raises(SettingError, match="of another network or of other images"):
        search(network, images, checkpoint=file)


class WithoutGradient(Ends):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class InPlace(Ends):
    def between(self, x):
        y = self.middle(x)
        x.relu_().add_(1)
        return (y @ self.middle.weight) * x


class Reentrant(TwoFunctionWeights):
    def forward(self, x):
        return self.last(checkpoint(lambda y: self.between(self.first(y)), x, use_reentrant=True))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize(
    ("network", "reason"),
    [(WithoutGradient, "no gradient reaches the outputs"), (InPlace, "inplace"), (Reentrant, "reaches the weights")],
)
def test_a_network_that_cannot_be_trained_is_one_sentence(network, reason):
    with pytest.raises(UntrainableError, match=f"the search cannot train it .*{reason}.*use_reentrant=False"):
        search(network, dry_export=False)


class FixesBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(64, 3)

    def forward(self, x):
        return self.last(torch.relu(self.middle(torch.relu(self.first(x)))).reshape(len(x), -1))


class LoopsOverSamples(TwoFunctionWeights):
    def forward(self, x):
        return torch.stack([self.last(torch.relu(self.between(self.first(each)))) for each in x])


def test_a_batch_that_became_a_constant_is_refused_and_can_be_fixed(tmp_path):
    with pytest.raises(ExportError, match=r"(?s)tried before the search.*flatten\(1\).*dry_export"):
        search(FixesBatch, torch.randn(60, 1, 4, 4), activations=8)
    result = search(FixesBatch, torch.randn(60, 1, 4, 4), activations=8, dry_export=False)
    with pytest.raises(ExportError, match=r"len\(x\).*flatten\(1\).*input_shapes=\[\[1, 1, 4, 4\]\]"):
        result.export(tmp_path / "model.xml")
    with pytest.raises(ExportError, match="become a constant"):
        search(LoopsOverSamples, steps=1, dry_export=False).export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    path = result.export(tmp_path / "model.xml", input_shapes=[[1, 1, 4, 4]])
    images = torch.randn(5, 1, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(IrNetwork(path, properties=EXACT)(images), result.model(images), rtol=0.1, atol=0.1)


class DropsAxes(FixesBatch):
    def forward(self, x):
        x = torch.relu(self.middle(torch.relu(self.first(x)))).reshape(-1, 64, 1, 1)
        return self.last(x.squeeze())


def test_axes_dropped_by_their_length_are_refused_where_the_batch_is_free(tmp_path):
    images = torch.randn(60, 1, 4, 4)
    result = search(DropsAxes, images, config={"openvino": {"dry_export": False}})
    with pytest.raises(ExportError, match=r"squeeze\(\) without a dimension.*squeeze\(dim\)"):
        result.export(tmp_path / "model.xml")
    assert not list(tmp_path.iterdir())
    path = result.export(tmp_path / "model.xml", example_input=images[:5], input_shapes=[[5, 1, 4, 4]])
    with torch.no_grad():
        torch.testing.assert_close(IrNetwork(path, properties=EXACT)(images[:5]), result.model(images[:5]))


def test_parametrizations_in_the_way_of_an_export_are_named():
    network = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), spectral_norm(nn.Linear(8, 8)), nn.Linear(8, 8), nn.Linear(8, 3)
    )
    with pytest.raises(ExportError, match=r"from others: 2\. torch\.nn\.utils\.parametrize\.remove_parametrizations"):
        search(lambda: network)


class Singular(Ends):
    def between(self, x):
        return super().between(x) + torch.linalg.svdvals(x[:, None])


def test_an_onnx_export_that_fails_prints_no_graph(tmp_path, capfd):
    result = search(Singular, dry_export=False, steps=1)
    with pytest.raises(ExportError, match="linalg_svdvals"):
        result.export(tmp_path / "model.onnx")
    assert "graph" not in "".join(capfd.readouterr())


def refilled():
    batch = torch.empty(40, 6)
    for part in samples().split(40):
        batch.copy_(part)
        yield batch


def fails(network):
    raise ValueError("no data")


def test_a_score_that_fails_after_the_search_loses_nothing(tmp_path, caplog):
    calls = []

    def score(network):
        calls.append(network)
        return 1.0 if len(calls) < 3 else fails(network)

    result = search(TwoFunctionWeights, score=score)
    result.export(tmp_path / "model.xml")
    assert [row.score for row in result.rows] == [1.0, 1.0, None, None]
    assert "the score failed with the network 'searched' (ValueError: no data)" in caplog.text
    with pytest.raises(SettingError, match="max_drop: the score gives no number"):
        calls.clear()
        search(lambda: Signals(1.0), score=score, max_drop=1.0)


REFUSED = [
    ({"images": refilled}, DataError, "filled again and again"),
    ({"images": lambda: TensorDataset(samples())}, DataError, r"TensorDataset.*DataLoader\(dataset, batch_size=100\)"),
    ({"network": lambda: nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 3))}, SettingError, "lazy modules"),
    ({"network": lambda: TwoFunctionWeights().to("meta")}, SettingError, "device meta"),
    ({"network": lambda: torch.jit.trace(TwoFunctionWeights(), samples())}, SettingError, "TorchScript"),
    ({"edges": 4}, ConfigError, 'edges: received 4; .* for the default, 8'),
    ({"seed": "a"}, SettingError, "seed: received 'a'"),
    ({"seed": 2**64}, SettingError, "seed: received 18446744073709551616"),
    ({"checkpoint": "/dev/full"}, SettingError, "checkpoint: received /dev/full, which is no file"),
    ({"checkpoint": f"{__file__}/search.pt"}, SettingError, "checkpoint: .*which cannot be written .Not a directory"),
    ({"score": fails}, SettingError, "score: .*failed with the network 'float' .ValueError: no data"),
    ({"network": lambda: Signals(1.0), "max_drop": 1.0, "score": lambda network: float("nan")}, SettingError,
     "score of nan for the float network"),
    ({"max_drop": 1.0, "config": {"weights": {"bits": 2}}}, SettingError, "max_drop: .*beside weights.bits 2 in the"),
    ({"max_drop": 1.0, "config": {"weights": {"bits": "auto", "budget": {"bytes": 9}}}}, SettingError,
     "max_drop: received 1.0 beside weights.budget"),
    ({"max_drop": "1"}, SettingError, "max_drop: received '1'"),
    ({"max_drop": 1.0, "config": {"weights": {"overrides": [{"target_scopes": "{re}.", "bits": 2}]}}}, SettingError,
     "states the bits of every layer"),
    ({"score": "top-1"}, SettingError, "score: received 'top-1'"),
    ({"score": lambda network: None}, SettingError, "gives NoneType for the network 'float'; allowed"),
    ({"progress": 5, "checkpoint": 5, "log_dir": b"x"}, SettingError,
     r"(?s)progress: received 5.*checkpoint: received 5.*log_dir: received b'x'"),
    ({"checkpoint": "a" * 300}, SettingError, "a name of 300 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "kind", "message"), REFUSED)
def test_what_cannot_be_used_is_one_sentence(settings, kind, message):
    settings = dict(settings)
    network, images = settings.pop("network", TwoFunctionWeights), settings.pop("images", samples)
    with pytest.raises(kind, match=message):
        search(network(), images(), **settings)
