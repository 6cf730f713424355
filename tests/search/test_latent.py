"""What follows from one number a weight is the softmax over all values."""

import pytest
import torch

from nncf_slb.search.distribution import logits_from_weight
from nncf_slb.search.latent import expected_entry, largest_probability
from nncf_slb.search.values import VALUE_SETS, make_values

LISTS = [[-1.0, 0.3, 1.0], [-2.0, -0.7, 0.1, 0.4, 5.0], [0.5, 1.5]]
SETS = [make_values(name, bits) for name, entry in VALUE_SETS.items() for bits in entry.widths]
SETS += [make_values(numbers, 4) for numbers in LISTS]


def softmax(latent, table, sharpness):
    """The obvious way, in float64: expected entry and largest probability."""
    exact = table.double()
    spacing = (exact[-1] - exact[0]) / (len(exact) - 1)
    logits = -sharpness * ((latent.double() - exact.view(-1, 1)) / spacing).square()
    p = torch.softmax(logits, dim=0)
    return (p * exact.view(-1, 1)).sum(0), p.amax(0), spacing


@pytest.mark.parametrize("values", SETS, ids=lambda v: f"{v.name}-{len(v)}")
@pytest.mark.parametrize("sharpness", [0.05, 0.5, 2.0, 8.0, 17.9, 18.0, 40.0, 2e4])
def test_expected_entries_are_those_of_the_softmax(values, sharpness):
    torch.manual_seed(0)
    table = torch.tensor(values.table)
    ends = float(table.abs().max())
    middles = (table[1:] + table[:-1]) / 2
    latent = torch.cat([
        torch.randn(2000) * ends, middles, middles + 1e-6, table, torch.tensor([-1e3 * ends, 1e3 * ends, 1e6, 0.0])
    ])  # fmt: skip
    expected, largest, spacing = softmax(latent, table, sharpness)
    assert float((expected_entry(latent, values.table, sharpness) - expected).abs().max()) <= 1e-6 * ends * (
        1 + 1 / spacing
    )
    assert float((largest_probability(latent, values.table, sharpness) - largest).abs().max()) <= 2e-6


def test_the_distribution_is_that_of_the_logits_it_stands_for():
    torch.manual_seed(0)
    table = torch.tensor(make_values("uniform", 3).table)
    weight = torch.randn(50) * 4
    logits = logits_from_weight(weight, table, 2.0)
    expected = (torch.softmax(logits, dim=0) * table.view(-1, 1)).sum(0)
    clipped = weight.clamp(float(table[0]), float(table[-1]))
    torch.testing.assert_close(expected_entry(clipped, make_values("uniform", 3).table, 2.0), expected)
