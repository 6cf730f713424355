"""What a search without labels minimizes at the outputs of blocks."""

import pytest
import torch

from nncf_slb.search.outputs import distance_of_means, have_no_positions


@pytest.fixture
def outputs():
    return 3 + torch.randn(50, 4, 6, 5, generator=torch.Generator().manual_seed(0))


def test_errors_that_cancel_out_over_positions_do_not_count(outputs):
    noise = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    noise -= noise.mean((2, 3), keepdim=True)
    assert float(distance_of_means(outputs, outputs + noise)) < 1e-10


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_another_sample_s_means_are_twice_the_variance(outputs, scale):
    other = outputs[torch.randperm(50, generator=torch.Generator().manual_seed(2))]
    assert float(distance_of_means(scale * outputs, scale * other)) == pytest.approx(2, rel=0.2)


def test_means_that_are_the_same_for_all_samples_count_little(outputs):
    normalized = torch.nn.functional.instance_norm(outputs)  # what is left of their means is rounding
    assert float(distance_of_means(normalized, normalized + 1e-4)) < 1e-5
    noise = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    assert float(distance_of_means(normalized, normalized + 0.1 * noise)) < 0.1


def test_equal_samples_give_a_finite_distance():
    alike = torch.full((2, 4, 6, 5), 3.0)
    assert float(distance_of_means(alike, alike)) == 0
    assert float(distance_of_means(alike, 1.1 * alike)) == pytest.approx(0.01 / 1e-3, rel=1e-3)
    assert float(distance_of_means(0 * alike, 0 * alike)) == 0


def test_outputs_without_positions_have_none(outputs):
    assert float(distance_of_means(outputs[..., 0], outputs[..., 1])) == 0


def test_outputs_with_positions_are_told_from_others(outputs):
    vectors = outputs.mean((2, 3))
    assert have_no_positions(vectors) and have_no_positions({"classes": vectors, "score": vectors[:, 0]})
    assert not have_no_positions((vectors, outputs)) and not have_no_positions([outputs.flatten(2)])
