"""Quantizers of inputs against the formulas of their papers, written the slow way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nncf_slb.search.activations import ActivationQuantizer, fake_quantize, fit_step, quantization_range, sign
from nncf_slb.search.strip import fixed_activation

NUMBERS = st.floats(-3, 3, width=32)


def sample(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fitted(bits, mode, x, signed=None):
    quantizer = ActivationQuantizer(bits, mode, signed)
    quantizer.observe()
    assert bits == 1 or torch.equal(quantizer(x), x)
    quantizer.finish()
    return quantizer


def test_sign_takes_zero_as_minus_one():
    x = torch.tensor([-2.0, -0.0, 0.0, 1e-30, 2.0])
    assert sign(x).tolist() == [-1, -1, -1, 1, 1]


def piecewise_polynomial(x):
    inner = torch.where(x < 0, 2 * x + x * x, 2 * x - x * x)
    return torch.where(x < -1, -1.0, torch.where(x > 1, 1.0, inner))


@pytest.mark.parametrize(
    ("mode", "smooth"), [("sign_polynomial", piecewise_polynomial), ("sign_clipped", lambda x: x.clamp(-1, 1))]
)
def test_sign_has_the_gradient_of_a_smooth_function(mode, smooth):
    a, b, outer = sample(200).requires_grad_(), sample(200).requires_grad_(), sample(200, seed=1)
    (sign(a, mode) * outer).sum().backward()
    (smooth(b) * outer).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


@given(x=st.lists(NUMBERS, min_size=1, max_size=20), step=st.floats(0.01, 2), bits=st.sampled_from([2, 4, 8]))
def test_rounding_is_to_the_nearest_level_and_idempotent(x, step, bits):
    x, step = torch.tensor(x), torch.tensor(step)
    lowest, highest = quantization_range(bits, signed=True)
    rounded = fake_quantize(x, step, lowest, highest)
    assert ((rounded - x.clamp(lowest * step, highest * step)).abs() <= step * 0.5001).all()
    torch.testing.assert_close(fake_quantize(rounded, step, lowest, highest), rounded)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_training_rounds_as_pytorchs_operator_does_ties_included(bits, layout):
    x = sample(4, 6, 5, 5).to(memory_format=layout)
    quantizer = fitted(bits, "lsq", x)
    step = quantizer.step().detach()
    lowest, highest = quantizer.levels
    for data in (x, (3 * x).round() / 2 * step):
        expected = fake_quantize(data, step, lowest, highest)
        received = quantizer(data.requires_grad_())
        assert torch.equal(received, expected) and received.stride() == data.stride()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_learned_step_gradient_is_lsqs_equation_3(bits):
    x = sample(6, 50).abs().requires_grad_()
    quantizer = fitted(bits, "lsq", x.detach()).train()
    outer = sample(6, 50, seed=1)
    (quantizer(x) * outer).sum().backward()
    step, (lowest, highest) = float(quantizer.step()), quantizer.levels
    total = 0.0
    for value, weight, gradient in zip(x.flatten().tolist(), outer.flatten(), x.grad.flatten(), strict=True):
        level = value / step
        if lowest <= level <= highest:
            total += float(weight) * (round(level) - level)
            assert gradient == weight
        else:
            total += float(weight) * (lowest if level < lowest else highest)
            assert gradient == 0
    expected = total / (50 * highest) ** 0.5 * step  # the step is learned through its logarithm
    assert float(quantizer.log_step.grad) == pytest.approx(expected, rel=1e-3)


def test_clip_gradient_is_pacts_sum_over_clipped_inputs():
    x = sample(200).abs().requires_grad_()
    quantizer = fitted(4, "pact", x.detach()).train()
    with torch.no_grad():
        quantizer.clip.fill_(1.0)
    quantizer(x).sum().backward()
    assert float(quantizer.clip.grad) == int((x > 1).sum())
    assert torch.equal(x.grad, (x <= 1).float())


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_first_step_has_less_error_than_its_neighbours(bits):
    x = sample(5000)
    lowest, highest = quantization_range(bits, signed=True)
    best = fit_step(x, lowest, highest)
    errors = [(fake_quantize(x, best * f, lowest, highest) - x).square().sum() for f in (0.8, 1.0, 1.25)]
    assert errors[1] < errors[0] and errors[1] < errors[2]


@pytest.mark.parametrize("mode", ["lsq", "pact"])
def test_data_decides_whether_negative_inputs_have_levels(mode):
    assert fitted(4, mode, sample(100)).levels == (-8, 7)
    assert fitted(4, mode, sample(100).relu()).levels == (0, 15)
    assert fitted(4, mode, sample(100), signed=False).levels == (0, 15)


@pytest.mark.parametrize("mode", ["lsq", "pact"])
def test_without_data_the_first_training_batch_sets_the_step(mode):
    x, quantizer = sample(8, 30), ActivationQuantizer(2, mode)
    assert torch.equal(quantizer.eval()(x), x)
    with pytest.raises(RuntimeError, match="2-bit quantizer of inputs has seen no data"):
        fixed_activation(quantizer)
    result = quantizer.train()(x)
    assert result.unique().numel() == 4
    torch.testing.assert_close(quantizer.eval()(x), result)


@pytest.mark.parametrize(("bits", "mode"), [(1, "sign_clipped"), (2, "lsq"), (4, "pact"), (8, "lsq")])
def test_state_round_trips_and_the_fixed_form_gives_the_same_bits(bits, mode):
    x = sample(8, 30)
    quantizer = fitted(bits, mode, x)
    other = ActivationQuantizer(bits, mode)
    other.load_state_dict(quantizer.state_dict())
    assert torch.equal(other(x), quantizer(x))
    assert torch.equal(fixed_activation(other)(x), quantizer(x))


def test_inputs_of_one_sign_or_all_zero_still_give_a_positive_step():
    for x in (torch.zeros(10), -sample(10).abs()):
        assert float(fitted(4, "lsq", x).step()) > 0
