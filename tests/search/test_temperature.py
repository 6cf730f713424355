"""Every schedule against points computed by hand."""

import pytest

from nncf_slb.search.temperature import CURVES, TemperatureCurve, end_value_from_factor


@pytest.mark.parametrize(
    ("shape", "points"),
    [
        ("exponential", {0: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 16, 9: 16}),
        ("linear", {0: 1, 2: 1, 3: 4.75, 4: 8.5, 6: 16, 9: 16}),
        ("sine", {0: 1, 2: 1, 3: 1 + 15 * 0.38268343, 4: 1 + 15 * 0.70710678, 6: 16, 9: 16}),
    ],
)
def test_curve_passes_through_hand_computed_points(shape, points):
    curve = TemperatureCurve(shape, start_value=1.0, end_value=16.0, start_epoch=2, end_epoch=6)
    assert {epoch: curve(epoch) for epoch in points} == pytest.approx(points)


@pytest.mark.parametrize("shape", CURVES)
def test_curve_never_falls_and_stays_between_its_ends(shape):
    curve = TemperatureCurve(shape, 0.5, 30.0, 1.5, 7.25)
    values = [curve(step / 8) for step in range(80)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.5, 30.0)


def test_paper_setting_for_resnet20_w1_ends_near_1600():
    # 500 epochs, constant for 0.4 of them, then multiplied by 1.03 each epoch up to 0.9 of them.
    assert end_value_from_factor(1.0, 1.03, 0.9 * 500 - 0.4 * 500) == pytest.approx(1619.3, rel=1e-3)


def test_curve_tells_when_it_has_started_and_ended():
    curve = TemperatureCurve("linear", 1, 2, 1, 3)
    assert [curve.has_started(e) for e in (0, 1, 3)] == [False, True, True]
    assert [curve.has_ended(e) for e in (0, 2.9, 3)] == [False, False, True]
