"""A first attempt with default settings builds, or says what to do: what stays in full precision, and why."""

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nncf_slb
from tests.integration.test_any_network import IMAGE, Lambda, conv, plain
from tests.networks import compress, make_config

TRIED = {"openvino": {"dry_export": True}}


class Positioned(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 8), conv(8, 8)
        self.position, self.gamma = nn.Parameter(torch.zeros(1, 8, 12, 12)), nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x):
        return self.gamma * self.b(self.a(x) + self.position)


class FunctionalConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(8, 3, 3, 3)), conv(8, 4)

    def forward(self, x):
        return self.head(F.conv2d(x, self.weight))


class TiedTwice(nn.Module):
    """A weight that code outside of its layer uses too."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder, self.bias = nn.Linear(16, 8), nn.Linear(16, 16), nn.Parameter(torch.zeros(16))

    def forward(self, x):
        return self.decoder(F.linear(F.relu(self.encoder(x)), self.encoder.weight.t(), self.bias))


class TiedToEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.middle, self.head = nn.Embedding(50, 16), nn.Linear(16, 16), nn.Linear(16, 50, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens):
        return self.head(self.middle(self.words(tokens)))


def attention(batch_first):
    def forward(m, x):
        tokens = m["conv"](x).flatten(2).transpose(1, 2)
        tokens = tokens if batch_first else tokens.transpose(0, 1)
        tokens = tokens + m["attention"](tokens, tokens, tokens, need_weights=False)[0]
        tokens = m["rnn"](tokens)[0]
        return m["fc"](tokens if batch_first else tokens.transpose(0, 1))

    attend = nn.MultiheadAttention(16, 2, batch_first=batch_first)
    return Lambda(forward, conv=nn.Conv2d(3, 16, 4, 4), attention=attend, rnn=nn.GRU(16, 16), fc=nn.Linear(16, 4))


EMBEDDING, SEQUENCE = "looks rows up", {"input_info": {"sample_size": [2, 7], "type": "long"}}
CASES = {
    "positions": (Positioned, IMAGE, {"Positioned": "no matrix product uses its weights"}),
    "a functional convolution": (FunctionalConvolution, IMAGE, {"FunctionalConvolution": "conv2d, where NNCF 2.19"}),
    "attention": (lambda: attention(True), IMAGE, {"[attention]": "multi_head_attention", "[rnn]": "by gru"}),
    "attention, batch second": (lambda: attention(False), IMAGE, {"[attention]": "multi_head_att", "[rnn]": "by gru"}),
    "a weight used outside": (TiedTwice, (4, 16), {"[encoder]": "TiedTwice uses its weight too (t)"}),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_searched_stays_in_full_precision_and_is_named(name, caplog, tmp_path):
    build, shape, expected = CASES[name]
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING, "nncf_slb"):
        ctrl, model = compress(build().eval(), make_config(shape, TRIED))
    statistics = ctrl.statistics().slb
    (line,) = [record.getMessage() for record in caplog.records if "stay in full precision" in record.getMessage()]
    for part, reason in expected.items():
        (left,) = [each for each in statistics.left_out if part in each]
        assert reason in statistics.left_out[left] and left in line and left in statistics.full_precision_layers
        assert f"{left}: {statistics.left_out[left]}" in statistics.to_str()
    assert len(statistics.left_out) == len(expected) and statistics.layers
    assert f"{100 * statistics.left_out_share:.1f} % of all weights" in line
    x = torch.randn(*shape)
    with torch.no_grad():
        torch.testing.assert_close(ctrl.strip().eval()(x), model.eval()(x), rtol=1e-5, atol=1e-6)
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    assert nncf_slb.verify_openvino(ctrl, path, x).passed


def test_the_share_counts_all_matrices():
    ctrl, _ = compress(FunctionalConvolution(), make_config(IMAGE))
    assert ctrl.statistics().slb.left_out_share == pytest.approx(8 * 27 / (8 * 27 + 4 * 72))


@pytest.mark.parametrize("name", CASES)
def test_it_is_an_error_where_target_scopes_ask_for_it(name):
    build, shape, expected = CASES[name]
    with pytest.raises(nncf_slb.UnsupportedLayersError) as caught:
        compress(build(), make_config(shape, {"target_scopes": ["{re}.*"]}))
    for part, reason in expected.items():
        assert part.strip("[]") in str(caught.value) and reason in str(caught.value)


def words(network, section=None, others=()):
    config = make_config([2, 7], section, others)
    config["input_info"] = SEQUENCE["input_info"]
    return compress(network, config)


def test_embeddings_and_what_shares_their_weight_stay_in_full_precision():
    ctrl, _ = words(TiedToEmbedding(), TRIED)
    statistics = ctrl.statistics().slb
    assert [layer.name for layer in statistics.layers] == ["TiedToEmbedding/NNCFLinear[middle]/linear_0"]
    assert "looks rows up" in statistics.left_out["TiedToEmbedding/NNCFEmbedding[words]/embedding_0"]
    assert "shares its weight" in statistics.left_out["TiedToEmbedding/NNCFLinear[head]/linear_0"]
    with pytest.raises(nncf_slb.UnsupportedLayersError, match=r"\[words\]/embedding_0: Embedding looks rows up"):
        words(TiedToEmbedding(), {"target_scopes": ["{re}words", "{re}middle"]})


def quantization(**settings):
    no_data = {"range": {"num_init_samples": 0}, "batchnorm_adaptation": {"num_bn_adaptation_samples": 0}}
    return {"algorithm": "quantization", "initializer": no_data, **settings}


def test_a_composite_that_ignores_an_embedding_gets_advice_that_works():
    with pytest.raises(nncf_slb.ConfigError, match=r"compression\[1\].weights.ignored_scopes: .*\[words\]") as caught:
        words(TiedToEmbedding(), {}, [quantization(weights={"ignored_scopes": ["{re}.*"]})])
    assert '"{re}^(?!.*/[A-Za-z]*Embedding).*$"' in str(caught.value)
    for settings in (
        {"weights": {"ignored_scopes": ["{re}^(?!.*/[A-Za-z]*Embedding).*$"]}},
        {"weights": {"ignored_scopes": ["{re}.*"]}, "ignored_scopes": ["{re}/NNCFEmbedding"]},
    ):
        assert words(TiedToEmbedding(), {}, [quantization(**settings)])[0].statistics().slb.layers


class Inner(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.head = layer, nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.head(self.layer(x))


def pruned():
    from torch.nn.utils import prune

    layer = conv(3, 8)
    prune.l1_unstructured(layer, "weight", 0.5)
    return layer


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.utils.spectral_norm(conv(3, 8)),
        lambda: nn.utils.parametrizations.spectral_norm(conv(3, 8)),
        lambda: nn.utils.weight_norm(conv(3, 8)),
        lambda: nn.utils.parametrizations.weight_norm(conv(3, 8)),
        pruned,
    ],
)
def test_weights_that_torch_computes_are_refused_in_one_way(layer):
    with pytest.raises(nncf_slb.UnsupportedLayersError, match="layer.*: its weight is computed from other parameters"):
        compress(Inner(layer()), make_config(IMAGE))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: nn.DataParallel(plain(conv(3, 8))), "model: received DataParallel; .* Pass model.module"),
        (lambda: conv(3, 8), r"model: received Conv2d, a single layer.*Pass torch.nn.Sequential\(layer\)"),
        (lambda: plain(conv(3, 8)).double(), r"model: received parameters of torch.float64; .*model.float\(\)"),
        (lambda: plain(nn.LazyConv2d(8, 3)), "run one batch through it first"),
    ],
)
def test_a_network_that_nncf_cannot_take_is_refused_with_what_to_do(network, message):
    with pytest.raises(nncf_slb.ModelError, match=message):
        compress(network(), make_config(IMAGE))


def test_inference_mode_is_refused_and_no_grad_is_not():
    with torch.inference_mode(), pytest.raises(nncf_slb.ModelError, match="inference_mode: received"):
        compress(plain(conv(3, 8)), make_config(IMAGE))
    with torch.no_grad():
        assert compress(plain(conv(3, 8)), make_config(IMAGE))[0].searchable_weights


class Unconvertible(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv(3, 8)

    def forward(self, x):
        return self.conv(x) + torch.linalg.svdvals(x.flatten(2)).sum()


def test_a_dry_export_refuses_before_training_and_can_be_switched_off(caplog):
    with pytest.raises(nncf_slb.ExportError) as caught:
        compress(Unconvertible(), make_config(IMAGE, TRIED))
    for part in ("aten::linalg_svdvals", "tried before the search", '"openvino": {"dry_export": false}'):
        assert part in str(caught.value)
    assert compress(Unconvertible(), make_config(IMAGE))[0].searchable_weights
    with caplog.at_level(logging.INFO, "nncf_slb"):
        compress(plain(conv(3, 8)), make_config(IMAGE, TRIED))
    assert any("a dry export of the network took" in record.getMessage() for record in caplog.records)


def test_a_dry_export_leaves_the_network_as_it_would_be_without():
    states = []
    for tried in (True, False):
        torch.manual_seed(0)
        _, model = compress(plain(conv(3, 8), nn.BatchNorm2d(8), conv(8, 4)), make_config(
            IMAGE, {"openvino": {"dry_export": tried}, "activations": {"bits": 4}}))  # fmt: skip
        states.append({**model.state_dict(), "random": torch.rand(1)})
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))


class KeywordOnly(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.fc = nn.Embedding(11, 8), nn.Linear(8, 4)

    def forward(self, *, words, mask=None, options=None):
        x = self.embed(words)
        x = x * mask[..., None] if mask is not None else x
        return {"scores": self.fc(x.mean(1)) * options["factors"][0]}


def test_arguments_of_a_dummy_forward_are_those_of_the_export(tmp_path):
    from nncf.torch import create_compressed_model, nncf_model_input

    def arguments():
        given = {"words": torch.arange(8).view(2, 4), "mask": torch.ones(2, 4)}
        return {**{k: nncf_model_input(v) for k, v in given.items()}, "options": {"factors": [torch.full((2, 1), 2.0)]}}

    ctrl, _ = create_compressed_model(
        KeywordOnly(), make_config([1], TRIED), dump_graphs=False,
        dummy_forward_fn=lambda m: m(**arguments()), wrap_inputs_fn=lambda args, kwargs: (args, kwargs),
    )  # fmt: skip
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    data = (torch.randint(0, 11, (5, 4)), torch.rand(5, 4), torch.rand(5, 1))
    assert nncf_slb.verify_openvino(ctrl, path, data).passed
    stripped, example = ctrl.strip(), {"words": data[0], "mask": data[1], "options": {"factors": [data[2]]}}
    other = nncf_slb.export_openvino(stripped, tmp_path / "n.xml", example_input=example)
    assert nncf_slb.verify_openvino(stripped, other, data).passed


def test_a_folder_in_the_place_of_a_file_is_refused_and_leaves_nothing(tmp_path):
    ctrl, _ = compress(plain(conv(3, 8)), make_config(IMAGE))
    for name in ("m.xml", "n.bin", "o.onnx"):
        (tmp_path / name).mkdir()
    for name in ("m.xml", "n.xml", "o.onnx"):
        with pytest.raises(nncf_slb.ExportError, match="is a folder; allowed is the name of a file"):
            nncf_slb.export_openvino(ctrl, tmp_path / name)
    assert {each.name for each in tmp_path.iterdir()} == {"m.xml", "n.bin", "o.onnx"}
