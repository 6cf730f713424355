"""Comparison of an IR with PyTorch: what it reports, and that it finds what is wrong."""

import numpy as np
import pytest
import torch

import nncf_slb
from tests.networks import Small, compress, digits, make_config, searched_words
from tests.openvino.exported import corrupt_codes, exported_small, searched_small


def test_an_exact_export_passes_and_says_how_exact(tmp_path):
    ctrl, path = exported_small(tmp_path)
    images = digits(count=1797)[1]
    result = nncf_slb.verify_openvino(ctrl, path, images)
    (output,) = result.outputs
    assert result.passed and result.samples == 1797 and result.first_layer is None
    reference = ctrl.strip()(images).detach()
    assert output.reference == pytest.approx(float(reference.abs().max()), rel=1e-4)
    assert 0 <= output.mean <= output.largest < 1e-4 * output.reference and output.agreement == 1.0
    assert result.tolerance == 0.001
    for text in ("within tolerance", "100.00%", "1797 samples"):
        assert text in result.to_str()


@pytest.mark.parametrize("layer", ["second", "head"])
@pytest.mark.parametrize("activations", [4, 32])
def test_the_first_damaged_layer_is_named(layer, activations, tmp_path):
    ctrl, path = exported_small(tmp_path, activations=activations)
    images = digits()[1]
    assert nncf_slb.verify_openvino(ctrl, path, images).passed
    corrupt_codes(path, layer)
    result = nncf_slb.verify_openvino(ctrl, path, images)
    assert not result.passed
    assert result.first_layer.name == {"second": "second_bn", "head": "head"}[layer]
    assert f"first layer out of tolerance: {result.first_layer.name}" in result.to_str()
    assert result.outputs[0].agreement < 1


def test_the_ir_of_another_search_fails(tmp_path):
    _, path = exported_small(tmp_path)
    assert not nncf_slb.verify_openvino(searched_small(seed=1), path, digits()[1]).passed


def test_difference_and_agreement_are_those_of_the_outputs(tmp_path):
    ctrl, path = exported_small(tmp_path)
    other = searched_small(seed=1)
    images = digits(count=37)[1]
    result = nncf_slb.verify_openvino(other, path, images).outputs[0]
    ours, theirs = ctrl.strip()(images).detach().numpy(), other.strip()(images).detach().numpy()
    assert result.largest == pytest.approx(np.abs(ours - theirs).max(), rel=1e-3)
    assert result.mean == pytest.approx(np.abs(ours - theirs).mean(), rel=1e-3)
    assert result.agreement == (ours.argmax(1) == theirs.argmax(1)).mean()


def test_a_controller_stays_as_it_was_and_a_stripped_model_will_do(tmp_path):
    ctrl, path = exported_small(tmp_path)
    ctrl.model.train()
    before = {name: value.clone() for name, value in ctrl.model.state_dict().items()}
    assert nncf_slb.verify_openvino(ctrl, path).passed  # noise by default
    assert all(torch.equal(before[name], value) for name, value in ctrl.model.state_dict().items())
    assert ctrl.model.training
    ctrl.model.eval()
    assert nncf_slb.verify_openvino(ctrl.strip(), path, digits()[1].numpy()).passed


def test_tolerance_is_wider_where_activations_are_quantized_and_can_be_set(tmp_path):
    ctrl, path = exported_small(tmp_path, activations=8)
    assert nncf_slb.verify_openvino(ctrl, path).tolerance == 0.05
    assert not nncf_slb.verify_openvino(ctrl, path, tolerance=1e-9).within


def test_a_composite_is_verified_too(tmp_path):
    loader, images, _ = digits()
    quantization = {"algorithm": "quantization", "initializer": {"range": {"num_init_samples": 50}}}
    quantization["weights"] = {"ignored_scopes": ["Small/NNCFConv2d[second]/conv2d_0"]}
    section = {"ignored_scopes": ["{re}first", "{re}head"]}
    ctrl, model = compress(Small(), make_config([50, 1, 8, 8], section, [quantization]), loader)
    model.eval()
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    result = nncf_slb.verify_openvino(ctrl, path, images)
    assert result.passed, result.to_str()
    corrupt_codes(path, "second")
    damaged = nncf_slb.verify_openvino(ctrl, path, images)
    assert not damaged.passed and damaged.first_layer.name in ("second", "second_bn")


@pytest.mark.parametrize(
    ("data", "received"),
    [
        (torch.zeros(4, 1, 9, 8), r"\[4, 1, 9, 8\]"),
        (torch.zeros(0, 1, 8, 8), r"\[0, 1, 8, 8\]"),
        ((torch.zeros(4, 1, 8, 8), torch.zeros(4, 1)), r"\[4, 1, 8, 8\], \[4, 1\]"),
        (torch.zeros(4), r"\[4\]"),
    ],
)
def test_data_that_does_not_fit_is_refused_with_what_does(data, received, tmp_path):
    ctrl, path = exported_small(tmp_path)
    with pytest.raises(nncf_slb.DataError, match=rf"data: received {received}; the network takes \[\?,1,8,8\]"):
        nncf_slb.verify_openvino(ctrl, path, data)


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.double().numpy(),
        lambda x: x.double(),
        lambda x: x.bfloat16(),
        lambda x: (x * 16).to(torch.uint8),
        lambda x: (x * 16).numpy().astype(np.int64),
        lambda x: x.clone().requires_grad_(),
        lambda x: x.numpy()[::-1],
        lambda x: np.broadcast_to(x.numpy(), x.shape),  # read-only
    ],
)
def test_numbers_of_any_type_become_those_of_the_input(convert, tmp_path):
    ctrl, path = exported_small(tmp_path)
    assert nncf_slb.verify_openvino(ctrl, path, convert(digits()[1])).passed


@pytest.mark.parametrize("data", [np.array([None]), "images.npy", np.array(["a"]), (torch.zeros(1, 1, 8, 8), {})])
def test_data_without_numbers_is_refused(data, tmp_path):
    ctrl, path = exported_small(tmp_path)
    with pytest.raises(nncf_slb.DataError, match=r"data: received .*not a tensor or an array of numbers"):
        nncf_slb.verify_openvino(ctrl, path, data)


def test_inputs_of_whole_numbers_need_data_and_take_no_fractions(tmp_path):
    ctrl, model = searched_words()
    model.eval()
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    words = torch.arange(20).view(5, 4) % 11
    for data in (words, words.int(), words.to(torch.uint8).numpy()):
        assert nncf_slb.verify_openvino(ctrl, path, data).passed
    with pytest.raises(nncf_slb.DataError, match="received none, and the network takes i64, .*: pass data"):
        nncf_slb.verify_openvino(ctrl, path)
    with pytest.raises(
        nncf_slb.DataError, match=r"received torch.float32 for input 0, which takes torch.int64; allowed"
    ):
        nncf_slb.verify_openvino(ctrl, path, words.float())


class WithLoss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        logits = self.layer(x)
        return logits, logits.square().mean()


def test_an_output_without_samples_is_refused_by_number_and_shape(tmp_path):
    ctrl, model = compress(WithLoss(), make_config([2, 4]))
    model.eval()
    path = nncf_slb.export_openvino(ctrl, tmp_path / "m.xml")
    with pytest.raises(nncf_slb.DataError, match=r"a batch of 5 gives output 1, \[\]; allowed are outputs whose first"):
        nncf_slb.verify_openvino(ctrl, path, torch.randn(5, 4))


@pytest.mark.parametrize("wrong", [{}, None, "m.xml"])
def test_what_is_no_model_is_refused_with_what_is(wrong, tmp_path):
    _, path = exported_small(tmp_path)
    message = f"model: received {type(wrong).__name__}; allowed are a controller and a stripped torch module"
    with pytest.raises(TypeError, match=message):
        nncf_slb.verify_openvino(wrong, path)
    with pytest.raises(TypeError, match=message):
        nncf_slb.export_openvino(wrong, tmp_path / "other.xml")
