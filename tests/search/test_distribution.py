"""Search arithmetic against autograd, slow oracles and properties."""

import pytest
import torch

from nncf_slb.search import distribution as F
from nncf_slb.search.scale import fit_scale, nearest_codes
from nncf_slb.search.values import VALUE_SETS, make_values

SETS = [(name, bits) for name, entry in VALUE_SETS.items() for bits in entry.widths]


def numbers_of(name, bits, dtype=torch.float64):
    values = make_values(name, bits)
    return torch.tensor(values.table, dtype=dtype) * values.step


def expected_value_by_loop(logits, values, inverse_temperature):
    result = torch.zeros(logits.shape[1:], dtype=logits.dtype)
    for index in range(result.numel()):
        a = [float(plane.flatten()[index]) * inverse_temperature for plane in logits]
        weights = [torch.tensor(x - max(a)).exp().item() for x in a]
        result.view(-1)[index] = sum(w * float(v) for w, v in zip(weights, values, strict=True)) / sum(weights)
    return result


@pytest.mark.parametrize(("name", "bits"), SETS)
@pytest.mark.parametrize("inverse_temperature", [0.5, 1.0, 20.0])
def test_expected_value_equals_the_slow_computation(name, bits, inverse_temperature):
    values = numbers_of(name, bits)
    logits = torch.randn(len(values), 3, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(
        F.expected_value(logits, values, inverse_temperature),
        expected_value_by_loop(logits, values, inverse_temperature), rtol=1e-6, atol=1e-7,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "bits"), SETS)
@pytest.mark.parametrize("inverse_temperature", [0.7, 5.0])
def test_gradient_passes_gradcheck_in_double_precision(name, bits, inverse_temperature):
    values = numbers_of(name, bits)
    logits = torch.randn(len(values), 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: F.expected_value(a, values, inverse_temperature), logits)


def test_gradient_equals_autograd_of_the_plain_formula():
    values = numbers_of("uniform", 2)
    own = torch.randn(4, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    plain = own.detach().clone().requires_grad_()
    target = torch.randn(5, 3, 3, dtype=torch.float64)
    (F.expected_value(own, values, 3.0) - target).square().sum().backward()
    expected = (F.probabilities(plain, 3.0) * values.view(-1, 1, 1, 1)).sum(0)
    (expected - target).square().sum().backward()
    torch.testing.assert_close(own.grad, plain.grad)


def test_a_falling_temperature_brings_the_expected_value_to_the_chosen_one():
    torch.manual_seed(0)  # drawn anew, one tie in some hundreds of runs would be closer than the bound
    values = numbers_of("uniform", 2)
    logits = torch.randn(4, 50, dtype=torch.float64)
    chosen = values[F.chosen_codes(logits).long()]
    gaps = [(F.expected_value(logits, values, b) - chosen).abs().mean().item() for b in (1, 10, 100, 10_000)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3


@pytest.mark.parametrize(("name", "bits"), SETS)
def test_fitted_scale_is_at_least_as_good_as_a_fine_search(name, bits):
    rows, values = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)), numbers_of(name, bits, torch.float32)
    scale = fit_scale(rows, values)

    def error(s):
        return (values[nearest_codes(rows / s[:, None], values)] * s[:, None] - rows).square().sum(1)

    largest = rows.abs().amax(1)
    best = torch.stack([error(largest * f) for f in torch.linspace(0.005, 1.5, 600).tolist()]).amin(0)
    assert (error(scale) <= best * 1.02).all()


def test_fitted_scale_of_binary_weights_is_the_mean_absolute_weight():
    rows = torch.randn(5, 30)
    torch.testing.assert_close(fit_scale(rows, torch.tensor([-1.0, 1.0])), rows.abs().mean(1))


def test_fitted_scale_of_a_zero_channel_is_positive_and_finite():
    scale = fit_scale(torch.zeros(2, 9), torch.tensor([-1.0, 1.0]))
    assert torch.isfinite(scale).all() and (scale > 0).all()


@pytest.mark.parametrize(("name", "bits"), SETS)
def test_logits_from_weights_choose_the_nearest_value(name, bits):
    values, weight = numbers_of(name, bits), torch.randn(7, 11, dtype=torch.float64)
    logits = F.logits_from_weight(weight, values, sharpness=2.0)
    nearest = (weight[..., None] - values).abs().argmin(-1)
    assert torch.equal(F.chosen_codes(logits).long(), nearest)


def test_logits_from_weights_start_with_expected_weights_close_to_them():
    values, weight = numbers_of("uniform", 4), torch.linspace(-0.8, 0.8, 101, dtype=torch.float64)
    logits = F.logits_from_weight(weight, values, sharpness=2.0)
    assert (F.expected_value(logits, values, 1.0) - weight).abs().max() < 0.02
