"""Which layers are searched, and what is said of those that cannot be."""

import json
import re

import pytest
import torch
from torch import nn

import nncf_slb
from tests.integration.test_search import SIZE
from tests.networks import Small, compress, make_config


class WithEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.normed(self.embed(x.long()).mean(1)))


ASKED = {"target_scopes": ["{re}.*"]}  # what cannot be searched is an error where scopes ask for it


def test_layers_that_cannot_be_searched_are_all_named_with_reason_and_remedy():
    with pytest.raises(nncf_slb.UnsupportedLayersError) as caught:
        compress(WithEmbedding(), make_config([1, 4], ASKED))
    message = str(caught.value)
    assert "[embed]" in message and "[normed]" in message
    assert "Embedding looks rows up and multiplies no matrix" in message
    assert '"ignored_scopes": [' in message and "ConvTranspose2d" in message


def test_leaving_no_layer_to_search_is_an_error():
    with pytest.raises(nncf_slb.UnsupportedLayersError, match="found no layer to search"):
        compress(Small(), make_config(SIZE, {"ignored_scopes": ["{re}.*"]}))


def test_a_scope_that_matches_nothing_is_an_error():
    with pytest.raises(Exception, match="no_such_layer"):
        compress(Small(), make_config(SIZE, {"ignored_scopes": ["no_such_layer"]}))


def test_every_override_whose_scopes_match_no_layer_is_named_with_the_layers_there_are():
    section = {
        "weights": {"overrides": [{"target_scopes": "{re}head", "bits": 4}, {"target_scopes": "{re}haed", "bits": 4}]},
        "activations": {"bits": 8, "overrides": [{"target_scopes": ["{re}first", "second"], "bits": 4}]},
    }
    with pytest.raises(nncf_slb.ConfigError) as caught:
        compress(Small(), make_config(SIZE, section))
    weights, activations = caught.value.problems
    assert weights.startswith('compression.weights.overrides[1].target_scopes: received "{re}haed"')
    assert activations.startswith('compression.activations.overrides[0].target_scopes: received "second"')
    assert 'such as "Small/NNCFLinear[head]/linear_0"' in weights
    assert 'such as "Small/NNCFConv2d[second]/conv2d_0"' in activations
    ctrl, _ = compress(Small(), make_config(SIZE, {**section, "validate_scopes": False}))
    assert [layer.bits for layer in ctrl.statistics().slb.layers] == [2, 2, 4]


@pytest.mark.parametrize("logits", ["trained", "random"])
def test_frozen_layers_keep_their_nearest_discrete_weights(logits):
    model = Small()
    model.second.weight.requires_grad_(False)
    trained = model.second.weight.clone()
    ctrl, compressed = compress(model, make_config(SIZE, {"initializer": {"logits": logits}}))
    assert len(nncf_slb.logits_parameters(compressed)) == 2
    frozen = ctrl.searchable_weights["Small/NNCFConv2d[second]/conv2d_0"]
    chosen, multiplier = frozen.eval()(), frozen.multiplier()
    nearest = (frozen.value_table * multiplier[..., None] - trained[..., None]).abs().amin(-1)
    torch.testing.assert_close((chosen - trained).abs(), nearest)


class OwnWeight(nn.Module):
    """Convolution with a parameter of its own, and a layer inside."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, 1, 1))
        self.inner = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.inner(nn.functional.conv2d(x, self.weight))


class Unusual(nn.Module):
    """Weights that NNCF lets no algorithm hook into, and a layer that is never called."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)
        self.own = OwnWeight()
        self.unused = nn.Conv2d(8, 8, 1)
        self.attention = nn.MultiheadAttention(8, 2)
        self.projection = nn.Parameter(torch.randn(8, 8))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 4))

    def forward(self, x):
        x = self.own(self.first(x)).flatten(2).permute(2, 0, 1)
        x = self.attention(x, x, x)[0] @ self.projection
        return self.normed(x.mean(0))


UNUSUAL = [1, 1, 6, 6]


def remedy(message):
    return json.loads("{" + re.search(r'"ignored_scopes": \[.*\]', message)[0] + "}")


def test_the_printed_remedy_works_and_leaves_out_no_other_layer():
    with pytest.raises(nncf_slb.UnsupportedLayersError) as caught:
        compress(Unusual(), make_config(UNUSUAL, ASKED))
    lines = {line.partition(":")[0].strip() for line in str(caught.value).splitlines()[1:-1]}
    modules = {"Unusual/OwnWeight[own]", "Unusual/MultiheadAttention[attention]", "Unusual/ParametrizedLinear[normed]"}
    assert lines == {"Unusual", *modules}
    ctrl, _ = compress(Unusual(), make_config(UNUSUAL, {**ASKED, **remedy(str(caught.value))}))
    searched = {"Unusual/NNCFConv2d[first]/conv2d_0", "Unusual/OwnWeight[own]/NNCFConv2d[inner]/conv2d_0"}
    assert set(ctrl.searchable_weights) == searched
    assert {*lines, "Unusual/Conv2d[unused]"} <= set(ctrl.statistics().slb.full_precision_layers)


def test_a_module_whose_operations_are_ignored_by_name_is_left_out():
    names = ["{re}attention", "{re}normed", "Unusual/OwnWeight[own]/conv2d_0", "{re}^Unusual(/[^/]*)?$"]
    ctrl, _ = compress(Unusual(), make_config(UNUSUAL, {"ignored_scopes": names}))
    assert len(ctrl.searchable_weights) == 2


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other, self.head = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3), nn.Linear(16, 10)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.head(self.other(self.one(x).relu()).flatten(1))


ONE, OTHER = "Tied/NNCFConv2d[one]/conv2d_0", "Tied/NNCFConv2d[other]/conv2d_0"


@pytest.mark.parametrize(
    ("section", "named", "reason"),
    [
        ({"ignored_scopes": [OTHER]}, [ONE], r"with Tied/NNCFConv2d\[other\], which is not searched"),
        (
            {"weights": {"overrides": [{"target_scopes": OTHER, "bits": 4}]}},
            [ONE, OTHER],
            "overrides give them different settings",
        ),
    ],
)
def test_a_shared_weight_is_refused_where_its_layers_need_it_in_two_forms(section, named, reason):
    with pytest.raises(nncf_slb.UnsupportedLayersError, match=reason) as caught:
        compress(Tied(), make_config([1, 1, 8, 8], section))
    message = str(caught.value)
    ignored = remedy(message)["ignored_scopes"]
    assert ignored == named and all(f"  {name}: it shares its weight" in message for name in named)
    section = {**section, "ignored_scopes": [*section.get("ignored_scopes", []), *ignored]}
    ctrl, model = compress(Tied(), make_config([1, 1, 8, 8], section))
    assert list(ctrl.searchable_weights) == ["Tied/NNCFLinear[head]/linear_0"]
    assert model.one.weight is model.other.weight and model.one.weight.requires_grad


def test_a_shared_weight_with_one_setting_is_searched_once():
    overrides = [{"target_scopes": [ONE, OTHER], "bits": 4}]
    ctrl, _ = compress(Tied(), make_config([1, 1, 8, 8], {"weights": {"overrides": overrides}}))
    assert ctrl.searchable_weights[ONE] is ctrl.searchable_weights[OTHER]
    assert ctrl.searchable_weights[ONE].values.bits == 4
