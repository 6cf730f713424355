"""Quantized inputs through NNCF's own functions: where they stand, how they train, what is refused."""

import copy

import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.search.activations import ActivationQuantizer, fake_quantize, sign
from tests.integration.test_search import accuracy, trained_float
from tests.networks import MIXED_ENDS, Mixed, Small, compress, digits, make_config, train

SIZE = [50, 1, 8, 8]
INNER = {"overrides": [{"target_scopes": ["{re}first", "{re}head"], "bits": 8}]}


class Residual(nn.Module):
    """Two convolutions read one tensor, which also goes past them into the sum."""

    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(8, 8, 3, padding=1)
        self.right = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = x * 1.5
        return self.left(x) + self.right(x) + x


def quantizers(model):
    return list(dict.fromkeys(m for m in model.modules() if isinstance(m, ActivationQuantizer)))


def loader_of(x, batch_size=4):
    data = torch.utils.data.TensorDataset(x, torch.zeros(len(x)).long())
    return torch.utils.data.DataLoader(data, batch_size=batch_size)


@pytest.mark.parametrize("bits", [1, 4])
def test_consumers_of_a_tensor_share_one_quantizer_and_the_sum_takes_the_tensor_itself(bits):
    x = torch.randn(8, 8, 6, 6)
    ctrl, model = compress(Residual(), make_config([4, 8, 6, 6], {"activations": {"bits": bits}}), loader_of(x))
    model.eval()
    (quantizer,) = quantizers(model)
    stripped = ctrl.strip()
    whole = x * 1.5
    rounded = sign(whole) if bits == 1 else fake_quantize(whole, quantizer.step().detach(), -8, 7)
    left, right = stripped.left, stripped.right
    expected = (
        nn.functional.conv2d(rounded, left.weight, left.bias, padding=1)
        + nn.functional.conv2d(rounded, right.weight, right.bias)
        + whole
    )
    torch.testing.assert_close(model(x), expected)
    assert torch.equal(stripped(x), model(x))
    assert stripped.left.input_quantizer is stripped.right.input_quantizer


def test_layers_with_other_settings_do_not_share():
    activations = {"bits": 4, "overrides": [{"target_scopes": ["{re}right"], "bits": 2}]}
    _, model = compress(Residual(), make_config([4, 8, 6, 6], {"activations": activations}))
    assert sorted(q.bits for q in quantizers(model)) == [2, 4]


def test_signs_of_the_data_decide_levels_layer_by_layer():
    loader = loader_of(torch.randn(16, 1, 12, 12))
    _, model = compress(Mixed(), make_config([8, 1, 12, 12], {"activations": {"bits": 4}}), loader)
    lowest = {name: q.levels[0] for name, q in model.named_modules() if isinstance(q, ActivationQuantizer)}
    stem = [value for name, value in lowest.items() if name.startswith("stem")]
    assert stem == [-8] and len(lowest) == 8 and set(lowest.values()) == {-8, 0}
    assert all(value == 0 for name, value in lowest.items() if "stem" not in name)


@pytest.mark.parametrize(
    ("bits", "mode", "floor"),
    [
        (1, "sign_polynomial", 0.6), (1, "sign_clipped", 0.6), (2, "lsq", 0.9), (2, "pact", 0.9),
        (4, "lsq", 0.95), (4, "pact", 0.95), (8, "lsq", 0.95), (8, "pact", 0.95),
    ],
)  # fmt: skip
def test_every_mode_trains(bits, mode, floor):
    loader, x, y = digits()
    model = trained_float()
    section = {"activations": {"bits": bits, "mode": mode, **INNER}, "params": {"epochs": 8}}
    ctrl, model = compress(model, make_config(SIZE, section), loader)
    before = [p.detach().clone() for q in quantizers(model) for p in q.parameters()]
    train(ctrl, model, loader, 8)
    assert accuracy(model.eval(), x, y) > floor
    after = [p for q in quantizers(model) for p in q.parameters()]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert torch.equal(ctrl.strip()(x), model(x))


@pytest.mark.parametrize("mode", ["lsq", "pact"])
def test_a_resumed_run_gives_the_same_bits(mode):
    loader, x, _ = digits()
    start = trained_float()
    section = {"activations": {"bits": 2, "mode": mode}, "params": {"epochs": 3}}
    ctrl, model = compress(copy.deepcopy(start), make_config(SIZE, section), loader)
    optimizer = train(ctrl, model, loader, 2)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), ctrl.get_compression_state()))
    train(ctrl, model, loader, 1, optimizer=optimizer)
    ctrl2, model2 = compress(copy.deepcopy(start), make_config(SIZE, section), loader, state=saved[2])
    model2.load_state_dict(saved[0])
    optimizer2 = torch.optim.Adam([p for p in model2.parameters() if p.requires_grad], 0.02)
    optimizer2.load_state_dict(saved[1])
    train(ctrl2, model2, loader, 1, optimizer=optimizer2)
    assert torch.equal(model.eval()(x), model2.eval()(x))


def test_initialization_leaves_batch_norm_alone():
    loader, _, _ = digits()
    model = trained_float()
    before = {k: v.clone() for k, v in model.state_dict().items() if "bn" in k}
    section = {"activations": {"bits": 4}, "initializer": {"batchnorm_adaptation": None}}
    _, model = compress(model, make_config(SIZE, section), loader)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_frozen_layers_keep_their_step_and_the_lr_multiplier_reaches_the_others():
    grads = []
    for multiplier in (1.0, 0.25):
        torch.manual_seed(0)
        network = trained_float()
        network.second.weight.requires_grad_(False)
        section = {"activations": {"bits": 4}, "compression_lr_multiplier": multiplier}
        loader, x, _ = digits()
        _, model = compress(network, make_config(SIZE, section), loader)
        frozen = [p for m in model.second.modules() if isinstance(m, ActivationQuantizer) for p in m.parameters()]
        assert len(frozen) == 1 and not frozen[0].requires_grad
        model.train()(x).square().sum().backward()
        grads.append(model.get_parameter("head.pre_ops.1.op.log_step").grad)
    torch.testing.assert_close(grads[0] * 0.25, grads[1])


def test_composed_with_nncfs_quantization_of_what_slb_ignores():
    loader, x, y = digits()
    searched = "Small/NNCFConv2d[second]/conv2d_0"
    quantization = {"algorithm": "quantization", "initializer": {"range": {"num_init_samples": 50}}}
    section = {"weights": {"bits": 2}, "activations": {"bits": 4}, "params": {"epochs": 6}}
    section["ignored_scopes"] = ["{re}first", "{re}head"]
    config = make_config(SIZE, section, [{**quantization, "ignored_scopes": [searched]}])
    ctrl, model = compress(trained_float(), config, loader)
    train(ctrl, model, loader, 6)
    reference = model.eval()(x).detach()
    assert accuracy(model, x, y) > 0.9
    stripped = ctrl.strip().eval()
    # NNCF strips its quantizers to torch's, which round inputs on the boundary of two levels otherwise.
    differs = (stripped(x) - reference).abs().amax(1) > 1e-4
    assert differs.double().mean() <= 0.01
    assert [q.bits for q in quantizers(model)] == [4]


def test_weights_that_another_algorithm_changes_are_refused_before_training():
    loader, _, _ = digits()
    config = make_config(SIZE, {"ignored_scopes": ["{re}first", "{re}head"]}, [{"algorithm": "quantization"}])
    with pytest.raises(nncf_slb.UnsupportedLayersError, match=r"ignored_scopes.*Small/NNCFConv2d\[second\]/conv2d_0"):
        compress(Small(), config, loader)


def test_every_impossible_pair_is_named_before_training():
    section = {
        "weights": {"bits": 1, "overrides": [{"target_scopes": "{re}hidden", "values": [-1.0, 3.14159, 7.3]}]},
        "activations": {"bits": 1},
        "openvino": {"binary_convolution": "always"},
        "ignored_scopes": MIXED_ENDS,
    }
    with pytest.raises(nncf_slb.UnsupportedLayersError) as caught:
        compress(Mixed(), make_config([8, 1, 12, 12], section))
    text = str(caught.value)
    for part in (
        "[grouped]/conv2d_0: W1A1",
        "4 groups",
        "[depthwise]",
        "[up]",
        "not Conv2d",
        "[hidden]/linear_0: W2A1",
    ):
        assert part in text
    assert "[strided]" not in text and "[dilated]" not in text and "Possible:" in text


def test_a_binary_kernel_on_another_device_is_refused():
    section = {"weights": {"bits": 1}, "activations": {"bits": 1}, "openvino": {"binary_convolution": "always"}}
    config = make_config([4, 8, 6, 6], section, target_device="NPU")
    with pytest.raises(nncf_slb.UnsupportedLayersError, match=r"target_device is NPU"):
        compress(Residual(), config)
