"""Planted particles come back where they are: position, psi, any pixel sizes, any grid."""

from fractions import Fraction

import numpy as np
import pytest

from helpers import Blobs, bank_of, search
from napari_gempick.engine.picking.peaks import Selection, find_candidates, select
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.model.geometry import Grid

PSIS = np.array([0.0, 37.0, 90.0, 123.0, 251.0, 330.0])


def planted(pixel_size, shape=(280, 420)):
    """Six particles at sub-pixel positions with known psi."""
    scale = 2.0 / pixel_size
    ny, nx = (round(n * scale) for n in shape)
    rng = np.random.default_rng(4)
    grid = [(x, y) for y in (70, 210) for x in (70, 210, 350)]
    centres = np.array([(x * scale + rng.uniform(-0.5, 0.5), y * scale + rng.uniform(-0.5, 0.5)) for x, y in grid])
    image = Blobs.image((ny, nx), pixel_size, centres, PSIS)
    return image + 0.005 * rng.standard_normal((ny, nx)).astype(np.float32), centres


@pytest.mark.parametrize("size", [87, 88])
@pytest.mark.parametrize("template_pixel", [2.0, 1.5, 3.1])
@pytest.mark.parametrize(("ratio", "lowpass"), [(1, None), (Fraction(3, 2), 8.0), (2, 8.0)])
def test_position_and_angle_without_bias(plans, size, template_pixel, ratio, lowpass):
    pixel_size = 2.0
    size = round(size * 2 / template_pixel) // 2 * 2 + size % 2
    template = Blobs.image((size, size), template_pixel, [(size // 2, size // 2)])
    image, centres = planted(pixel_size)
    grid = Grid(image.shape, pixel_size, Fraction(ratio))
    mask = ShapeMask("circle", (130.0, 130.0), 2 * grid.map_pixel_size if grid.ratio > 1 else 0.0)
    bank = bank_of([template], [mask], step=3, spacing=grid.map_pixel_size, pixel_size=template_pixel, lowpass=lowpass)
    result = search(image, bank, plans, grid=grid, lowpass=lowpass)
    picks = select(find_candidates(result, 0.3), Selection([0.8], 40 / float(ratio)), grid.file_shape)
    assert len(picks) == len(centres)
    offsets, turns = [], []
    for (x, y), psi in zip(centres, PSIS, strict=True):
        nearest = np.hypot(picks.x - x, picks.y - y).argmin()
        offsets.append((picks.x[nearest] - x, picks.y[nearest] - y))
        turns.append((picks.psi[nearest] - psi + 180) % 360 - 180)
    # on a coarse grid a centre off the grid trades against a step of the angle
    assert np.abs(turns).max() <= (1.5 if grid.ratio == 1 else 3)
    offsets = np.array(offsets)
    assert np.abs(offsets.mean(axis=0)).max() < 0.05 * float(ratio), "no common shift"
    assert np.abs(offsets).max() < 0.1 * float(ratio)


def test_contrast_is_signed(plans):
    """A template of the wrong contrast finds nothing: the maximum is of the signed score."""
    image, _ = planted(2.0)
    template = Blobs.image((88, 88), 2.0, [(44, 44)])
    bank = bank_of([-template], [ShapeMask("circle", (130.0, 130.0))], step=30, pixel_size=2.0, spacing=2.0)
    result = search(image, bank, plans, grid=Grid(image.shape, 2.0))
    assert not len(find_candidates(result, 0.8))


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_cropped_grid_gives_the_full_grids_scores(plans, ratio):
    """At the shared positions within 2e-3: same low-pass and mask, an edge of two coarse pixels, 24 of them across."""
    pixel_size, lowpass, diameter = 2.0, 2 * 2.0 * ratio, 24 * 2.0 * ratio
    shape = (80 * ratio, 91 * ratio + 1)
    image = Blobs.image(shape, pixel_size, [(30.3 * ratio, 30.6 * ratio), (52.1 * ratio, 41.0 * ratio)], [20, 111])
    image += 0.3 * np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    size = 28 * ratio
    template = Blobs.image((size, size), pixel_size, [(size // 2, size // 2)])
    maps = []
    for r in (1, ratio):
        grid = Grid(shape, pixel_size, Fraction(r))
        mask = ShapeMask("circle", (diameter, diameter), 2 * pixel_size * ratio)
        how = {"spacing": grid.map_pixel_size, "pixel_size": pixel_size, "lowpass": lowpass}
        bank = bank_of([template], [mask], step=40, oversampling=grid.oversampling, **how)
        maps.append(search(image, bank, plans, grid=grid, lowpass=lowpass))
    full = maps[0].score[::ratio, ::ratio]
    assert full.shape == maps[1].score.shape
    both = (maps[0].index[::ratio, ::ratio] >= 0) & (maps[1].index >= 0)
    assert both.mean() > 0.4
    assert np.abs(full - maps[1].score)[both].max() < 2e-3
