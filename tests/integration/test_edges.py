"""First and last layers, and a search without labels, through NNCF's own functions."""

import pytest
import torch

import nncf_slb
from nncf_slb.search.runtime import CodedWeight
from tests.networks import Mixed, Small, compress, digits, make_config, train

SIZE = [50, 1, 8, 8]


def searched(ctrl):
    return [layer.name for layer in ctrl.statistics().slb.layers]


def make(loader=True, network=Small, others=(), size=SIZE, **section):
    torch.manual_seed(0)
    return compress(network(), make_config(size, section, others), digits()[0] if loader else None)


def test_a_config_that_says_nothing_searches_them_and_says_so_once(caplog):
    ctrl, _ = make()
    assert len(searched(ctrl)) == 3
    advice = [record.getMessage() for record in caplog.records if "first and last layers" in record.getMessage()]
    assert len(advice) == 1 and "conv2d_0" in advice[0] and '"edges": "float" or 8' in advice[0]
    caplog.clear()
    make(ignored_scopes=["{re}first", "{re}head"])
    make(weights={"edges": "float"})
    assert "first and last layers" not in caplog.text


@pytest.mark.parametrize("activations", [32, 8])
@pytest.mark.parametrize("descent", ["mirror", "gradient"])
def test_eight_bits_stay_as_they_are_and_their_file_is_the_network(activations, descent, tmp_path):
    section = {
        "weights": {"edges": 8},
        "activations": {"bits": activations},
        "params": {"descent": descent, "epochs": 2},
    }
    ctrl, model = make(**section)
    statistics = ctrl.statistics().slb
    assert searched(ctrl) == ["Small/NNCFConv2d[second]/conv2d_0"] and len(statistics.eight_bit_layers) == 2
    assert "8 bits: Small/NNCFConv2d[first]/conv2d_0, " in statistics.to_str()
    before = ctrl.strip().head.codes.clone()
    train(ctrl, model, digits()[0], epochs=2)
    stripped = ctrl.strip()
    assert torch.equal(stripped.head.codes, before) and stripped.head.bits == stripped.first.bits == 8
    path = tmp_path / "model.xml"
    ctrl.export_model(str(path))
    stored = {layer.name: layer.stored for layer in nncf_slb.inspect_openvino(path).layers}
    assert stored["first"] == "i8" and stored["second"] == "u2" and stored["head"] in ("i8", "u8")
    verified = nncf_slb.verify_openvino(ctrl, path, digits()[1][:16].numpy())
    assert verified.passed or verified.by_rounding


def test_full_precision_edges_are_not_searched():
    ctrl, _ = make(weights={"edges": "float"})
    assert searched(ctrl) == ["Small/NNCFConv2d[second]/conv2d_0"]
    assert "Small/NNCFConv2d[first]/conv2d_0" in ctrl.statistics().slb.full_precision_layers


def test_nothing_left_to_search_says_why():
    with pytest.raises(nncf_slb.UnsupportedLayersError, match=r"edges give .*head.* 8 bits"):
        make(weights={"edges": 8}, ignored_scopes="{re}second")


def test_edges_count_in_the_bytes_of_a_budget(tmp_path):
    with pytest.raises(nncf_slb.ConfigError, match="at least 666"):
        make(weights={"bits": "auto", "edges": 8, "budget": {"bytes": 10}})
    ctrl, _ = make(weights={"bits": "auto", "edges": 8, "budget": {"bytes": 900}})
    path = nncf_slb.export_openvino(ctrl, tmp_path / "model.xml")
    assert path.with_suffix(".bin").stat().st_size <= 900


def test_a_state_brings_edges_back():
    ctrl, model = make(weights={"edges": 8})
    state, numbers = ctrl.get_compression_state(), model.state_dict()
    config = make_config(SIZE, {"weights": {"edges": 8}})
    again_ctrl, again = compress(Small(), config, None, state)
    again.load_state_dict(numbers)
    x = digits()[1][:8]
    assert torch.equal(model.eval()(x), again.eval()(x))
    assert torch.equal(ctrl.strip()(x), again_ctrl.strip()(x))


RECONSTRUCTION = {"initializer": {"reconstruction": {"num_samples": 200, "steps": 80}}}


@pytest.mark.parametrize("others", [(), ({"algorithm": "quantization", "ignored_scopes": ["{re}second"]},)])
def test_a_search_without_labels_brings_the_network_nearer_to_the_float_one(others, tmp_path):
    torch.manual_seed(0)
    network = Small()
    x = digits()[1]
    with torch.no_grad():
        network.first_bn.running_var.mul_(0.5)
        expected = network.eval()(x)
    ways = {}
    for name, section in {"nearest": {}, "searched": RECONSTRUCTION}.items():
        config = make_config(SIZE, {"weights": {"bits": 1, "edges": "float"}, **section}, others)
        copy = Small()
        copy.load_state_dict(network.state_dict())
        ctrl, model = compress(copy, config, digits()[0])
        with torch.no_grad():
            ways[name] = float((ctrl.strip().eval()(x) - expected).square().mean())
        assert model.training and all(p.grad is None for p in model.parameters())
    assert ways["searched"] < 0.85 * ways["nearest"], ways
    train(ctrl, model, digits()[0], epochs=1)
    nncf_slb.export_openvino(ctrl, tmp_path / "model.xml")


def test_a_search_without_labels_needs_a_loader_and_no_gradient_descent():
    with pytest.raises(nncf_slb.ConfigError, match="initializer.reconstruction: received .* without a data loader"):
        make(loader=False, **RECONSTRUCTION)
    with pytest.raises(nncf_slb.ConfigError, match='initializer.reconstruction.*none with params.descent "gradient"'):
        make(params={"descent": "gradient"}, **RECONSTRUCTION)


def test_a_search_without_labels_leaves_latents_and_flags_as_training_wants_them():
    ctrl, model = make(weights={"edges": 8}, **RECONSTRUCTION)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any(name.endswith("second.weight") for name in trained) and any("second_bn" in name for name in trained)
    assert not any(name.endswith(("first.weight", "head.weight")) for name in trained)
    assert ctrl.scheduler.inverse_temperature == 1.0
    for searchable in ctrl.searchable_weights.values():
        assert torch.equal(searchable.descent.mean, searchable.descent.latent) and searchable.descent.steps == 0


def test_edges_of_a_network_of_many_kinds():
    torch.manual_seed(0)
    ctrl, _ = compress(Mixed(), make_config([2, 1, 12, 12], {"weights": {"edges": 8}}), None)
    coded = {name: module.bits for name, module in ctrl.strip().named_modules() if isinstance(module, CodedWeight)}
    assert coded.pop("stem") == coded.pop("head") == 8 and set(coded.values()) == {2}
