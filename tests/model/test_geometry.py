"""Coordinates that are flipped, exchanged and scaled describe the image that is; sizes of grids and boxes."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gempick.model.geometry import Extent, Grid, Orientation, box_over_diameter
from napari_gempick.model.picks import Picks

SHAPE = (61, 90)
LOPSIDED = ((9.0, 1.0, 1.0), (-4.0, -3.0, 0.6), (1.0, 6.0, -0.8))
"""Blobs of the particle at psi 0: offset right, offset down, height; no mirror or rotation maps it to itself."""
ARROW = ((9.0, 0.0, 1.0), (-3.0, 0.0, 0.4))
"""A particle that looks the same upside down."""


def at(x, y, psi) -> Picks:
    n, whole = len(x), np.rint([x, y]).astype(np.int32)
    number = np.arange(n, dtype=np.int32)
    return Picks(
        np.array(x, float), np.array(y, float), *whole, np.ones(n, "f4"), number, number, number, np.array(psi, float)
    )


def rendered(picks: Picks, shape: tuple[int, int], particle, upside_down: bool = False) -> np.ndarray:
    """The image of these particles: psi turns them counter-clockwise as seen with row 0 on top."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for x, y, psi in zip(picks.x, picks.y, np.deg2rad(picks.psi), strict=True):
        for right, down, height in particle:
            down = -down if upside_down else down
            centre_x = x + right * np.cos(psi) + down * np.sin(psi)
            centre_y = y - right * np.sin(psi) + down * np.cos(psi)
            image += height * np.exp(-((columns - centre_x) ** 2 + (rows - centre_y) ** 2) / 4)
    return image


PICKS = at([30.25, 60.0], [20.5, 33.0], [25.0, 310.0])
EIGHT = list(itertools.product((False, True), repeat=3))


@pytest.mark.parametrize("particle", [LOPSIDED, ARROW])
@pytest.mark.parametrize(("swap", "flip_x", "flip_y"), EIGHT)
def test_the_changed_picks_describe_the_changed_image(particle, swap, flip_x, flip_y) -> None:
    expected = rendered(PICKS, SHAPE, particle)
    expected = expected.T if swap else expected
    expected = expected[:, ::-1] if flip_x else expected
    expected = expected[::-1] if flip_y else expected
    change = Orientation(1.0, swap, flip_x, flip_y)
    shape = change.shape_after(SHAPE)
    mirrored = swap ^ flip_x ^ flip_y
    np.testing.assert_allclose(
        rendered(change.apply(PICKS, shape), shape, particle, upside_down=mirrored), expected, atol=1e-9
    )
    assert change.shape_before(shape) == SHAPE
    if particle is ARROW and mirrored:
        np.testing.assert_allclose(rendered(change.apply(PICKS, shape), shape, particle), expected, atol=1e-9)


@pytest.mark.parametrize(("swap", "flip_x", "flip_y"), EIGHT)
def test_a_change_and_its_inverse_are_nothing(swap, flip_x, flip_y) -> None:
    there = Orientation(0.5, swap, flip_x, flip_y)
    back = Orientation(2.0, swap, flip_y if swap else flip_x, flip_x if swap else flip_y)
    shape = (40, 100)
    half = there.shape_after(shape)
    once = there.apply(PICKS, half)
    twice = back.apply(once, back.shape_after(half))
    scale_shift = np.array([twice.x - PICKS.x, twice.y - PICKS.y])
    # a flip on the coarse grid and one on the fine grid differ by the half pixel that the grids do not share
    assert set(np.round(scale_shift, 9).ravel().tolist()) <= {0.0, 1.0}
    np.testing.assert_allclose(twice.psi, PICKS.psi)


def test_scaling_shares_pixel_0() -> None:
    scaled = Orientation(4.0).apply(PICKS)
    np.testing.assert_array_equal(scaled.x, PICKS.x * 4)
    np.testing.assert_array_equal(scaled.psi, PICKS.psi)
    assert scaled.map_x.tolist() == [121, 240]
    assert (Orientation(4.0).shape_before((4098, 4096)), Orientation(4.0).shape_after((1024, 1024))) == (
        (1024, 1024),
        (4096, 4096),
    )


def test_only_flips_need_the_size() -> None:
    assert [Orientation(2, *flags).needs_shape for flags in ((True, False, False), (False, True, False))] == [
        False,
        True,
    ]


def test_binning_drops_incomplete_pixels() -> None:
    doubled, third = Orientation(2.0), Orientation(1 / 3, swap=True)
    assert (doubled.shape_after((51, 50)), doubled.shape_before((103, 102))) == ((102, 100), (51, 51))
    assert (third.shape_after((102, 99)), third.shape_before((33, 34))) == ((33, 34), (102, 99))


def test_a_box_is_even_and_holds_one_and_a_half_diameters() -> None:
    assert [box_over_diameter(diameter, 2.0) for diameter in (40.0, 41.0, 43.0)] == [30, 32, 34]


@given(
    st.fractions(1, 24, max_denominator=24),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.tuples(*[st.integers(0, 90)] * 4),
)
def test_a_position_is_scored_where_its_support_lies_on_the_micrograph(ratio, shape, reach):
    """Templates are multiplied on a finer grid than the map: its pixels before and after the position are counted."""
    grid, extent = Grid(shape, 1.0, ratio), Extent(*reach)
    finer = Fraction(1, grid.oversampling)
    for found, n, before, after in zip(grid.scored(extent), shape, reach[:2], reach[2:], strict=True):
        last = Fraction(n - 1) / ratio
        inside = [y for y in range(int(last) + 1) if y - before * finer >= 0 and y + after * finer <= last]
        assert list(range(found.start, found.stop)) == inside
