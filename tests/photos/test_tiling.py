"""Tiles: they cover the image once, see what they need, and leave no trace in the result."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncf_slb.photos.tiling import in_tiles, pieces, window_length

LENGTHS = st.integers(1, 200)
TILES = st.integers(1, 60)
OVERLAPS = st.integers(0, 30)


@given(LENGTHS, TILES, OVERLAPS)
def test_the_cores_are_the_axis_in_order(length, tile, overlap):
    covered = [pixel for piece in pieces(length, tile, overlap) for pixel in range(length)[piece.core]]
    assert covered == list(range(length))


@given(LENGTHS, TILES, OVERLAPS)
def test_windows_are_of_one_length_and_see_the_overlap_or_the_border(length, tile, overlap):
    for piece in pieces(length, tile, overlap):
        assert piece.window.stop - piece.window.start == window_length(length, tile, overlap)
        assert 0 <= piece.window.start <= max(0, piece.core.start - overlap)
        assert min(length, piece.core.stop + overlap) <= piece.window.stop <= length


def test_an_image_no_larger_than_a_window_is_one_piece():
    assert len(pieces(20, 12, 4)) == 1 and len(pieces(21, 12, 4)) == 2


def neighbourhood_sums(radius, scale):
    """Slow and obvious: sums of all pixels up to `radius` away, zero beyond the border, each repeated `scale` times."""

    def run(values):
        padded = np.pad(values, ((0, 0), (radius, radius), (radius, radius)))
        _, height, width = values.shape
        shifts = [(i, j) for i in range(2 * radius + 1) for j in range(2 * radius + 1)]
        total = sum(padded[:, i : i + height, j : j + width] for i, j in shifts)
        return total.repeat(scale, axis=1).repeat(scale, axis=2)

    return run


@pytest.mark.parametrize("shape", [(1, 37, 50), (3, 9, 64), (1, 3, 3), (2, 41, 1)])
@pytest.mark.parametrize(("tile", "overlap"), [(8, 2), (5, 3), (1, 2), (64, 2)])
def test_tiles_equal_the_whole_when_the_overlap_is_the_radius(shape, tile, overlap):
    values = np.random.default_rng(0).integers(0, 100, shape).astype(np.float32)
    run = neighbourhood_sums(radius=2, scale=3)
    np.testing.assert_array_equal(in_tiles(run, values, 3, tile, overlap), run(values))


def test_a_smaller_overlap_shows_at_the_seams_only():
    values = np.ones((1, 32, 6), np.float32)
    run = neighbourhood_sums(radius=2, scale=1)
    differs = (in_tiles(run, values, 1, tile=10, overlap=1) != run(values))[0]
    rows = np.flatnonzero(differs.any(axis=1))
    seams = [piece.core.start for piece in pieces(32, 10, 1)[1:]]
    assert sorted(rows) == sorted(row for seam in seams for row in (seam - 1, seam))
