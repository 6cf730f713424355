"""Networks and loaders as strangers write them, in a search without labels: the right file, or one sentence."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

import nncf_slb
from nncf_slb.config.errors import ConfigError
from nncf_slb.errors import DataError, SettingError
from nncf_slb.openvino.low_bit_model import ExportError
from nncf_slb.openvino.network import IrNetwork
from nncf_slb.search.agreement import agreement
from nncf_slb.search.batchnorm import calibrate
from nncf_slb.search.reconstruction import UntrainableError
from nncf_slb.search.runtime import CodedWeight, FixedActivation

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


class Ends(nn.Module):
    """First and last layers, with what a test is about between them."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 8), nn.Linear(8, 16), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(torch.relu(self.between(torch.relu(self.first(x)))))

    def between(self, x):
        return torch.relu(self.middle(x)) @ self.middle.weight


class Tied(Ends):
    """A weight that is used as it is and transposed."""


class TiedByFunction(Ends):
    def between(self, x):
        return functional.linear(torch.relu(self.middle(x)), self.middle.weight.t())


class TiedEnds(Ends):
    """The same of an 8-bit layer."""

    def forward(self, x):
        x = torch.relu(self.middle(torch.relu(self.between(self.first(x)))))
        return x @ self.middle.weight @ self.first.weight

    def between(self, x):
        return x


class TwoFunctionWeights(Ends):
    def __init__(self):
        super().__init__()
        self.one, self.other = (nn.Parameter(torch.randn(8, 8)) for _ in range(2))

    def between(self, x):
        return functional.linear(torch.relu(functional.linear(x, self.one)), self.other)


class CrossAttention(Ends):
    def __init__(self):
        super().__init__()
        self.keys = nn.Linear(6, 4)
        self.attention = nn.MultiheadAttention(8, 2, kdim=4, vdim=4, batch_first=True)

    def forward(self, x):
        keys = self.keys(x[:, None])
        return self.last(self.attention(self.first(x)[:, None], keys, keys, need_weights=False)[0].mean(1))


class TakesDictionary(Ends):
    def forward(self, batch):
        return super().forward(batch["x"])


class TupleLayer(Ends):
    class Layer(nn.Linear):
        def forward(self, x):
            return super().forward(x), None

    def __init__(self):
        super().__init__()
        self.middle = self.Layer(8, 8)

    def between(self, x):
        return self.middle(x)[0]


class Branch(Ends):
    """A layer that few batches reach."""

    def __init__(self):
        super().__init__()
        self.middle, self.rare = nn.Linear(8, 8), nn.Linear(8, 8)

    def between(self, x):
        return self.middle(x) + self.rare(x) if self.training and x[0, 0] > 1 else self.middle(x)


class ChangesItsInput(Ends):
    def forward(self, x):
        return super().forward(x.sub_(0.5).mul_(2))


class Temperature(Ends):
    def forward(self, x, temperature):
        return super().forward(x) * temperature


class Half(Ends):
    def __init__(self):
        super().__init__()
        self.bfloat16()


def one_layer():
    return nn.Linear(6, 3)


def compiled():
    return torch.compile(TwoFunctionWeights(), backend="eager")


def samples(count=240):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(0))


def search(network, images=None, **settings):
    torch.manual_seed(0)
    model = network() if callable(network) and not isinstance(network, nn.Module) else network
    images = samples() if images is None else images
    return nncf_slb.search_post_training(model, images, **{"steps": 2, **settings})


def as_dictionaries(batch):
    return ({"x": batch},), {}


def with_a_number(batch):
    return (batch, torch.tensor(2.0)), {}


NETWORKS = [
    (Tied, {}), (Tied, {"activations": 8}), (TiedByFunction, {"bits": 1}), (TiedEnds, {"edges": 8}),
    (TwoFunctionWeights, {}), (CrossAttention, {}), (TakesDictionary, {"inputs": as_dictionaries}), (TupleLayer, {}),
    (Branch, {}), (ChangesItsInput, {}), (Temperature, {"inputs": with_a_number}), (Half, {}),
    (one_layer, {"edges": "search"}), (compiled, {}),
]  # fmt: skip


@pytest.mark.parametrize(("network", "settings"), NETWORKS, ids=lambda value: getattr(value, "__name__", None))
def test_the_file_gives_what_the_network_gives_at_any_batch(network, settings, tmp_path):
    result = search(network, **settings)
    file = IrNetwork(result.export(tmp_path / "model.xml"), properties=EXACT)
    inputs = settings.get("inputs", lambda batch: ((batch,), {}))
    for batch in (1, 2, 4, 5):
        args, kwargs = inputs(samples(batch))
        received = file(*args, **kwargs)
        with torch.no_grad():
            torch.testing.assert_close(received, result.model(*args, **kwargs), rtol=1e-4, atol=1e-5)


def test_images_stay_as_they_are_where_the_network_changes_its_input():
    images, losses = samples(), {}
    for network in (ChangesItsInput, lambda: Copies()):
        seen = losses.setdefault(network, [])
        search(network, images, steps=3, progress=lambda state, seen=seen: seen.append(state.output_loss))
    assert torch.equal(images, samples())
    first, second = losses.values()
    assert first == pytest.approx(second, rel=1e-5)


class Copies(ChangesItsInput):
    def forward(self, x):
        return super().forward(x.clone())


@pytest.mark.parametrize("rest", [1, 50])
def test_batch_norm_counts_samples_not_batches(rest):
    data = samples(200 + rest) + torch.arange(200 + rest)[:, None] * 0.1
    parts, whole = nn.BatchNorm1d(6), nn.BatchNorm1d(6)
    sizes = [100, 100, rest] if rest > 1 else [101, 50, 50]
    calibrate(parts, parts, data.split(sizes))
    calibrate(whole, whole, [data])
    torch.testing.assert_close(parts.running_mean, whole.running_mean)


def test_a_batch_norm_that_runs_twice_in_a_pass_sees_both():
    data, norm = samples(150), nn.BatchNorm1d(6)

    def run(batch):
        norm(batch)
        norm(batch + 3)

    calibrate(norm, run, data.split([100, 50]))
    torch.testing.assert_close(norm.running_mean, data.mean(0) + 1.5)


def test_an_odd_sample_is_no_batch_of_its_own():
    network = nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
    )
    search(network, num_samples=201)
    search(network, samples(20), batch_size=2, num_samples=13)
    with pytest.raises(DataError, match="received 2 samples; allowed are 3 or more"):
        search(network, samples(2))


@pytest.mark.parametrize("change", ["network", "images"])
def test_a_checkpoint_of_another_network_or_of_other_images_is_refused(change, tmp_path):
    torch.manual_seed(0)
    network, images, file = TwoFunctionWeights(), samples(), tmp_path / "search.pt"
    search(network, images, checkpoint=file)
    search(network, images, checkpoint=file)
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


class TwoLayersOfOneWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 64), nn.Linear(64, 64), nn.Linear(64, 3)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.middle.weight

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.middle(torch.relu(self.first(x)))))))


def test_a_weight_that_two_layers_share_counts_once():
    result = search(TwoLayersOfOneWeight, bits=4)
    others = 64 * 6 + 3 * 64 + 4 * (64 + 64 + 64 + 3) + 4 * (64 + 64 + 3)  # edges in 8 bits, biases, scales
    assert result.rows[-1].bytes == 64 * 64 // 2 + others


def test_parametrizations_in_the_way_of_an_export_are_named():
    network = nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), spectral_norm(nn.Linear(8, 8)), nn.Linear(8, 8), nn.Linear(8, 3)
    )
    with pytest.raises(ExportError, match=r"from others: 2\. torch\.nn\.utils\.parametrize\.remove_parametrizations"):
        search(lambda: network)


class MaskedEncoder(nn.Module):
    """Layers that PyTorch runs as one operation in evaluation, on nested tensors where there is a mask."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)

    def forward(self, x, mask):
        return self.last(self.encoder(self.first(x), src_key_padding_mask=mask).mean(1))


@pytest.mark.parametrize("granularity", ["network", "block"])
@pytest.mark.parametrize("activations", [32, 8])
def test_encoders_with_masks_are_searched_and_exported(activations, granularity, tmp_path):
    def batch(count):
        return torch.randn(count, 5, 6), torch.arange(5) >= torch.randint(3, 6, (count, 1))

    arguments = {"inputs": lambda each: (each, {}), "granularity": granularity, "activations": activations}
    result = search(MaskedEncoder, [batch(20) for _ in range(3)], steps=2, **arguments)
    network = IrNetwork(result.export(tmp_path / "model.xml"), properties=EXACT)
    for count in (1, 3):
        data = batch(count)
        with torch.no_grad():
            torch.testing.assert_close(network(*data), result.model(*data), rtol=1e-2, atol=1e-2)


class Singular(Ends):
    def between(self, x):
        return super().between(x) + torch.linalg.svdvals(x[:, None])


def test_an_onnx_export_that_fails_prints_no_graph(tmp_path, capfd):
    result = search(Singular, dry_export=False, steps=1)
    with pytest.raises(ExportError, match="linalg_svdvals"):
        result.export(tmp_path / "model.onnx")
    assert "graph" not in "".join(capfd.readouterr())


class Signs(nn.Module):
    """Convolutions that are binary ones where weights and inputs have 1 bit."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(1, 32, 3, padding=1), nn.Linear(32, 3)
        self.body = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(3))

    def forward(self, x):
        x = self.first(x)
        for layer in self.body:
            x = x + layer(x)
        return self.last(x.mean((2, 3)))


def test_bytes_of_a_budget_are_used_where_some_layers_are_binary(tmp_path):
    sizes = []
    for bits, budget in ((1, None), (2, None), ("auto", 2), ("auto", 1.5)):
        allowed = (
            {} if budget is None else {"budget": {"bytes": round(sizes[0] + (budget - 1) * (sizes[1] - sizes[0]))}}
        )
        result = search(Signs, torch.randn(60, 1, 4, 4), steps=1, bits=bits, activations=1, **allowed)
        sizes.append(result.export(tmp_path / "model.xml").with_suffix(".bin").stat().st_size)
    one, two, as_two, between = sizes
    unit = 32 * 32 * 9 // 8  # a bit for each weight of a layer
    assert two - unit < as_two <= two + 16 and one < between <= one + (two - one) / 2


def test_scores_may_put_the_network_into_evaluation_mode(tmp_path):
    def score(network):
        network.eval()
        return float(network(samples(10)).sum())

    result = search(TwoFunctionWeights, score=score)
    result.export(tmp_path / "model.xml")
    assert result.rows[-1].score == pytest.approx(result.rows[-2].score, rel=1e-3)


class Signals(nn.Module):
    """Outputs whose size is that of the first layer's."""

    def __init__(self, size):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 5)
        for parameter in (self.first.weight, self.first.bias, self.middle.bias, self.last.bias):
            parameter.data *= size

    def forward(self, x):
        return self.last(torch.relu(self.middle(torch.relu(self.first(x)))))[:, :, None]


def test_small_signals_are_searched_as_well_as_large_ones():
    decibels = []
    for size in (1.0, 1e-3):
        torch.manual_seed(0)
        _, nearest, searched = search(Signals(size), steps=300, batch_size=100).rows
        decibels.append(searched.agreement.value - nearest.agreement.value)
    assert min(decibels) > 1 and abs(decibels[0] - decibels[1]) < 1.5


def test_what_moves_from_zeros_does_not_agree():
    zeros, ones = (lambda batch, value=value: torch.full((4, 3, 2), value) for value in (0.0, 1.0))
    assert agreement(zeros, zeros, [None]).value == float("inf")
    assert agreement(zeros, ones, [None]).value == -float("inf")


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


def test_steps_of_the_networks_own_inputs_hold_all_that_was_seen():
    images = samples()
    images[17] *= 5
    result = search(TwoFunctionWeights, images, activations=8, steps=10, batch_size=100, edges="search")
    steps = [module.step for module in result.model.modules() if isinstance(module, FixedActivation)]
    assert any(float(step) * 127 == pytest.approx(float(images[:210].abs().max()), rel=0.02) for step in steps)
    assert any(isinstance(module, CodedWeight) for module in result.model.modules())
