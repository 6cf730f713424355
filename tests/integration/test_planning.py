"""Which layers are searched, and what is said of those that cannot be."""

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


def test_layers_that_cannot_be_searched_are_all_named_with_reason_and_remedy():
    with pytest.raises(nncf_slb.UnsupportedLayersError) as caught:
        compress(WithEmbedding(), make_config([1, 4]))
    message = str(caught.value)
    assert "[embed]" in message and "[normed]" in message
    assert "has no low-bit form" in message
    assert '"ignored_scopes": [' in message and "ConvTranspose2d" in message


def test_leaving_no_layer_to_search_is_an_error():
    with pytest.raises(nncf_slb.UnsupportedLayersError, match="found no layer to search"):
        compress(Small(), make_config(SIZE, {"ignored_scopes": ["{re}.*"]}))


def test_a_scope_that_matches_nothing_is_an_error():
    with pytest.raises(Exception, match="no_such_layer"):
        compress(Small(), make_config(SIZE, {"ignored_scopes": ["no_such_layer"]}))


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
