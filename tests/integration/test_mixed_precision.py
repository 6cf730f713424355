"""``"bits": "auto"``: bits chosen from data within a budget, through NNCF's own functions."""

import copy
import itertools
import re

import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.search.values import packed_size
from tests.networks import MIXED_ENDS, Mixed, Small, compress, digits, in_batches_of_any_size, make_config, train

SIZE = [50, 1, 8, 8]
FIRST, SECOND, HEAD = "Small/NNCFConv2d[first]/conv2d_0", "Small/NNCFConv2d[second]/conv2d_0", "Small/NNCFLinear[head]"


def auto(others=(), top=None, network=Small, loader=True, state=None, section=None, **weights):
    torch.manual_seed(0)
    slb = {"weights": {"bits": "auto", **weights}, **(section or {})}
    return compress(network(), make_config(SIZE, slb, others, **(top or {})), digits()[0] if loader else None, state)


def bits_of(ctrl):
    return {layer.name: layer.bits for layer in ctrl.statistics().slb.layers}


def bin_size(ctrl, folder):
    return nncf_slb.export_openvino(ctrl, folder / "m.xml").with_suffix(".bin").stat().st_size


def smallest_bytes(**settings):
    """What the error for a budget of one byte says is needed."""
    with pytest.raises(nncf_slb.ConfigError, match=r"budget.bytes: received 1; allowed: at least \d+") as caught:
        auto(budget={"bytes": 1}, **settings)
    return int(re.search(r"at least (\d+)", str(caught.value)).group(1))


@pytest.mark.parametrize("mean_bits", [1.5, 2.0, 3.1])
def test_mean_bits_are_kept_and_no_other_choice_has_a_lower_sum_of_sensitivities(mean_bits):
    statistics = auto(budget={"mean_bits": mean_bits})[0].statistics().slb
    layers = statistics.layers
    measured = [statistics.sensitivities[layer.name] for layer in layers]
    assert statistics.mean_bits <= mean_bits
    allowed = mean_bits * sum(layer.weights for layer in layers)
    best = min(
        sum(each[bits] for each, bits in zip(measured, choice, strict=True))
        for choice in itertools.product((1, 2, 3, 4), repeat=len(layers))
        if sum(layer.weights * bits for layer, bits in zip(layers, choice, strict=True)) <= allowed
    )
    chosen = sum(each[layer.bits] for each, layer in zip(measured, layers, strict=True))
    assert chosen == pytest.approx(best)


def test_the_plain_function_measures_the_same():
    measured = auto(budget={"mean_bits": 2})[0].statistics().slb.sensitivities
    torch.manual_seed(0)
    plain = nncf_slb.measure_sensitivity(Small(), digits()[0])
    for name, path in ((FIRST, "first"), (SECOND, "second")):
        assert measured[name] == pytest.approx(plain[path], rel=1e-3)


@pytest.mark.parametrize(
    ("network", "section"),
    [(Small, {}), (Mixed, {"ignored_scopes": MIXED_ENDS}), (Small, {"activations": {"bits": 2, "signed": False}})],
)
def test_bytes_are_those_of_the_trained_export(network, section, tmp_path):
    smallest = smallest_bytes(network=network, section=section)
    ctrl, model = auto(network=network, section=section, budget={"bytes": smallest})
    assert set(bits_of(ctrl).values()) == {1}
    train(ctrl, model, digits()[0], 1)
    assert 0.99 * smallest <= bin_size(ctrl, tmp_path) <= smallest
    spare = 100
    ctrl, model = auto(network=network, section=section, budget={"bytes": smallest + spare})
    codes = sum(packed_size(x.weights, x.bits) - packed_size(x.weights, 1) for x in ctrl.statistics().slb.layers)
    train(ctrl, model, digits()[0], 1)
    size = bin_size(ctrl, tmp_path)
    assert 0 < codes <= spare and 0.99 * (smallest + codes) <= size <= smallest + spare


def test_beside_quantization_bytes_are_close(tmp_path):
    quantization = {"algorithm": "quantization", "weights": {"ignored_scopes": ["{re}second"]}}
    quantization["initializer"] = {
        "range": {"num_init_samples": 50}, "batchnorm_adaptation": {"num_bn_adaptation_samples": 0}
    }  # fmt: skip
    settings = {"others": [quantization], "section": {"ignored_scopes": ["{re}first", "{re}head"]}}
    smallest = smallest_bytes(**settings)
    ctrl, _ = auto(budget={"bytes": smallest + 150}, **settings)
    assert ctrl.statistics().slb.layers[0].bits == 2
    assert bin_size(ctrl, tmp_path) == pytest.approx(smallest + 144, rel=0.03)
    state = ctrl.get_compression_state()
    assert bits_of(auto(budget={"bytes": smallest + 150}, state=state, loader=False, **settings)[0]) == bits_of(ctrl)


def test_a_loader_with_a_batch_sampler_serves_all_that_needs_data():
    """Bits chosen by measurement, first steps of activations and batch norm adaptation."""
    section = {"weights": {"bits": "auto", "budget": {"mean_bits": 2, "samples": 100}}, "activations": {"bits": 4}}
    section["initializer"] = {
        "range": {"num_init_samples": 100}, "batchnorm_adaptation": {"num_bn_adaptation_samples": 100}
    }  # fmt: skip
    found = []
    for loader in (digits()[0], in_batches_of_any_size(digits()[0], (50, 50, 100))):
        torch.manual_seed(0)
        ctrl, model = compress(Small(), make_config(SIZE, section), loader)
        found.append((bits_of(ctrl), model.state_dict()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())


def test_overrides_keep_their_bits_and_other_values_get_bits_of_their_own():
    overrides = [
        {"target_scopes": "{re}first", "bits": 1},
        {"target_scopes": "{re}head", "values": "zero_centered", "scale": "none"},
    ]
    ctrl, _ = auto(budget={"mean_bits": 2.3}, overrides=overrides)
    statistics = ctrl.statistics().slb
    first, second, head = statistics.layers
    assert first.bits == 1 and FIRST not in statistics.sensitivities
    assert set(statistics.sensitivities[head.name]) == {2, 3, 4}
    assert second.weights * second.bits + head.weights * head.bits <= 2.3 * (second.weights + head.weights)
    assert second.bits == 2 and head.bits == 4


def test_overrides_for_every_layer_leave_nothing_to_choose():
    ctrl, _ = auto(budget={"mean_bits": 2}, overrides=[{"target_scopes": "{re}.*", "bits": 3}])
    assert set(bits_of(ctrl).values()) == {3} and not ctrl.statistics().slb.sensitivities


def test_a_sensitive_layer_gets_more_bits():
    class Sensitive(Small):
        """The second convolution's weights lie far from any two values; the first one's are two values."""

        def __init__(self):
            super().__init__()
            with torch.no_grad():
                self.first.weight.copy_(self.first.weight.sign())
                self.second.weight.copy_(self.second.weight.sign() * torch.rand(16, 8, 3, 3) ** 4)

    bits = bits_of(auto(network=Sensitive, budget={"mean_bits": 3}, candidates=[1, 3, 4])[0])
    assert next(b for name, b in bits.items() if "[first]" in name) == 1
    assert next(b for name, b in bits.items() if "[second]" in name) == 3


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(1, 1, 3, padding=1)
        self.other = nn.Conv2d(1, 1, 3, padding=1)
        self.other.weight = self.one.weight
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.other(self.one(x).relu()).flatten(1))


def test_a_shared_parameter_is_one_choice(tmp_path):
    ctrl, _ = auto(network=Tied, budget={"mean_bits": 2.01})
    statistics = ctrl.statistics().slb
    assert len(statistics.layers) == 2 and set(statistics.sensitivities) == {x.name for x in statistics.layers}
    assert {module.values.bits for module in ctrl.searchable_weights.values()} == {x.bits for x in statistics.layers}
    smallest = smallest_bytes(network=Tied)
    assert bin_size(auto(network=Tied, budget={"bytes": smallest})[0], tmp_path) == smallest


def test_a_resumed_model_has_the_same_bits_without_data(tmp_path):
    ctrl, model = auto(budget={"mean_bits": 2.0})
    train(ctrl, model, digits()[0], 1)
    x = digits()[1]
    expected = model(x)
    torch.save([model.state_dict(), ctrl.get_compression_state()], tmp_path / "c.pth")
    with torch.serialization.safe_globals(list(nncf_slb.CHECKPOINT_TYPES)):
        weights, state = torch.load(tmp_path / "c.pth", weights_only=True)
    resumed_ctrl, resumed = auto(budget={"mean_bits": 2.0}, loader=False, state=state)
    resumed.load_state_dict(weights)
    assert bits_of(resumed_ctrl) == bits_of(ctrl) and len(set(bits_of(ctrl).values())) > 1
    assert resumed_ctrl.statistics().slb.sensitivities == ctrl.statistics().slb.sensitivities
    assert resumed_ctrl.get_compression_state()["builder_state"] == ctrl.get_compression_state()["builder_state"]
    assert torch.equal(resumed.eval()(x), expected)


def test_a_state_without_bits_is_refused():
    ctrl, _ = compress(Small(), make_config(SIZE), digits()[0])
    with pytest.raises(nncf_slb.ConfigError, match=r"compression state without bits for .*\[first\].*\[head\]"):
        auto(budget={"mean_bits": 2.0}, state=copy.deepcopy(ctrl.get_compression_state()))


def test_without_a_loader_the_error_says_how_to_register_one():
    with pytest.raises(nncf_slb.ConfigError, match=r'bits: received "auto" without.*register_default_init_args'):
        auto(budget={"mean_bits": 2.0}, loader=False)


def test_a_mean_below_what_the_values_allow_says_what_is_needed():
    overrides = [{"target_scopes": "{re}second", "values": "zero_centered"}]
    with pytest.raises(nncf_slb.ConfigError, match=r"mean_bits: received 1.2; allowed: at least 1.833") as caught:
        auto(budget={"mean_bits": 1.2}, overrides=overrides)
    needed = float(re.search(r"at least ([\d.]+\d)", str(caught.value)).group(1))
    assert set(bits_of(auto(budget={"mean_bits": needed}, overrides=overrides)[0]).values()) == {1, 2}


def test_bytes_need_no_input_info_where_a_loader_is_registered():
    smallest = smallest_bytes()
    config = make_config(SIZE, {"weights": {"bits": "auto", "budget": {"bytes": smallest}}})
    del config["input_info"]
    assert set(bits_of(compress(Small(), config, digits()[0])[0]).values()) == {1}


def test_bytes_of_a_network_with_inputs_by_keyword_are_predicted():
    config = make_config(SIZE, {"weights": {"bits": "auto", "budget": {"bytes": 4000}}})
    config["input_info"] = {"sample_size": SIZE, "keyword": "x"}
    assert bits_of(compress(Small(), config, digits()[0])[0])


class Unconvertible(Small):
    def forward(self, x):
        return super().forward(x) + torch.linalg.svdvals(x.flatten(1)).sum()


def test_bytes_of_a_network_that_openvino_cannot_convert_are_refused():
    with pytest.raises(nncf_slb.ConfigError, match=r"budget.bytes: received a network that OpenVINO cannot convert"):
        auto(network=Unconvertible, budget={"bytes": 1000})
    assert bits_of(auto(network=Unconvertible, budget={"mean_bits": 1})[0])


def test_random_logits_are_measured_from_the_float_weights():
    random = auto(budget={"mean_bits": 2.0}, section={"initializer": {"logits": "random"}})[0].statistics().slb
    assert random.sensitivities == auto(budget={"mean_bits": 2.0})[0].statistics().slb.sensitivities


def test_statistics_show_why_a_layer_got_its_bits():
    statistics = auto(budget={"mean_bits": 2.0})[0].statistics()
    (row,) = [line for line in statistics.to_str().splitlines() if line.startswith(FIRST) and "e-" in line]
    chosen = statistics.slb.layers[0].bits
    assert row.count("*") == 1 and f"{statistics.slb.sensitivities[FIRST][chosen]:.2e}*" in row
    assert "sensitivity" not in compress(Small(), make_config(SIZE))[0].statistics().to_str()
