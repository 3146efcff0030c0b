"""Exclusion masks found in micrographs: what is foreign goes, particles stay."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from napari_gempick.engine.picking.exclusion import find_exclusion, padded_borders

DIAMETER = 40


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def field(rng, shape=(500, 560)):
    """Noise with dark particles of the diameter on it."""
    image = gaussian_filter(rng.standard_normal(shape), 1.0) / 0.28
    centres = rng.uniform(60, np.array(shape) - 60, (30, 2))
    for cy, cx in centres:
        top, left = int(cy) - DIAMETER, int(cx) - DIAMETER
        y, x = np.mgrid[top : top + 2 * DIAMETER, left : left + 2 * DIAMETER]
        image[y, x] -= 0.5 * (np.hypot(y - cy, x - cx) < DIAMETER / 2)
    return image.astype(np.float32), centres


@pytest.mark.parametrize("gradient", [0, 4])
def test_clean_micrographs_are_left_alone(rng, gradient):
    image, _ = field(rng)
    image += np.linspace(-gradient, gradient, image.shape[1], dtype=np.float32)
    assert find_exclusion(image, DIAMETER).mean() < 0.005


@pytest.mark.parametrize("gain", [1.0, -3.0])
def test_ice_carbon_and_dead_areas(rng, gain):
    image, centres = field(rng)
    y, x = np.indices(image.shape)
    ice = np.hypot(y - 250, x - 420) < 35
    carbon = x + y < 130
    dead = (y > 440) & (x > 480)
    image[ice] -= 6
    image[carbon] -= 4
    image[dead] = image[dead].mean()
    excluded = find_exclusion(gain * image + 100, DIAMETER)
    for area in (ice, carbon, dead):
        assert excluded[area].mean() > 0.8
    away = distance_transform_edt(~(ice | carbon | dead))[centres[:, 0].astype(int), centres[:, 1].astype(int)] > 50
    inside = excluded[centres[:, 0].astype(int), centres[:, 1].astype(int)]
    assert away.sum() > 10 and not inside[away].any()


def test_what_is_joined_to_something_foreign_goes_with_it(rng):
    """Thick ice that thins out: its rim is not foreign enough by itself."""
    image, _ = field(rng)
    y, x = np.indices(image.shape)
    depth = 8 * np.exp(-((y - 250) ** 2 + (x - 300) ** 2) / (2 * 60**2))
    rim = (depth > 1) & (depth < 1.3)
    assert find_exclusion((image - depth).astype(np.float32), DIAMETER)[rim].mean() > 0.9
    assert find_exclusion((image - rim * depth).astype(np.float32), DIAMETER)[rim].mean() < 0.2


def test_rough_areas_and_ice_on_a_gradient(rng):
    image, _ = field(rng)
    y, x = np.indices(image.shape)
    rough = np.hypot(y - 350, x - 150) < 60
    ice = np.hypot(y - 150, x - 420) < 35
    noise = gaussian_filter(rng.standard_normal(image.shape), 2.0)
    seen = image + rough * 5 * noise / noise.std() - 3 * ice + np.linspace(-20, 20, image.shape[1])
    excluded = find_exclusion(seen.astype(np.float32), DIAMETER)
    assert excluded[rough].mean() > 0.8 and excluded[ice].mean() > 0.8 and excluded.mean() < 0.15


def test_a_few_equal_rows_are_no_border_and_a_few_particles_no_micrograph(rng):
    image, _ = field(rng)
    image[1:4] = image[0]
    assert padded_borders(image) == (0, 0, 0, 0)
    y, x = np.indices((250, 250))
    scene = (rng.standard_normal((250, 250)) - 6 * (np.hypot(y - 125, x - 125) < 20)).astype(np.float32)
    assert not find_exclusion(scene, DIAMETER).any() and find_exclusion(np.tile(scene, (2, 2)), DIAMETER).any()


@pytest.mark.parametrize("widths", [(0, 0, 0, 0), (30, 20, 25, 14), (0, 40, 0, 0)])
def test_padded_borders(rng, widths):
    image, _ = field(rng)
    top, bottom, left, right = widths
    inner = image[top : image.shape[0] - bottom, left : image.shape[1] - right]
    padded = np.pad(inner, ((top, bottom), (left, right)), "edge")
    found = padded_borders(padded)
    assert all(abs(a - b) <= 2 for a, b in zip(found, widths, strict=True))
    excluded = find_exclusion(padded, DIAMETER)
    edge = np.ones(image.shape, bool)
    edge[top : image.shape[0] - bottom, left : image.shape[1] - right] = False
    assert not edge.any() or excluded[edge].mean() > 0.9


def test_nothing_to_compare_with():
    assert not find_exclusion(np.full((300, 300), 3, np.float32), DIAMETER).any()
    assert not find_exclusion(np.random.default_rng(0).standard_normal((50, 60)).astype(np.float32), DIAMETER).any()


def film(shape, share, kind, rng):
    """The share of a micrograph that lies highest on a ragged hill."""
    y, x = np.indices(shape) - np.array(shape)[:, None, None] / 2
    hill = {"straight": x + 0.4 * y, "hole": np.hypot(x - 30, y), "corner": np.minimum(x, y), "bar": -np.abs(x - y)}[
        kind
    ]
    ragged = gaussian_filter(rng.standard_normal(shape), 8)
    hill = hill + 3 * ragged / ragged.std()
    return hill > np.quantile(hill, 1 - share)


CARBON = [
    ("straight", 0.1, 2), ("straight", 0.15, 1), ("straight", 0.4, 1), ("straight", 0.6, 1), ("hole", 0.3, 1),
    ("hole", 0.6, 2), ("corner", 0.15, 1), ("corner", 0.3, 2), ("bar", 0.2, 1), ("bar", 0.4, 2),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "share", "darker"), CARBON)
def test_carbon_may_cover_much(rng, kind, share, darker):
    """Film one or two standard deviations darker than the ice, with the same noise and no particles."""
    image, centres = field(rng)
    there = film(image.shape, share, kind, rng)
    noise = gaussian_filter(rng.standard_normal(image.shape), 1.0) / 0.28
    image = np.where(there, noise - darker * image.std(), image) + np.linspace(-1, 1, image.shape[0])[:, None]
    excluded = find_exclusion(image.astype(np.float32), DIAMETER)
    away = distance_transform_edt(~there)
    assert excluded[there].mean() > 0.9
    assert (excluded & (away > DIAMETER / 4)).sum() < 0.012 * (~there).sum()
    rows, columns = centres.astype(int).T
    assert excluded[rows, columns][away[rows, columns] > 0.75 * DIAMETER].sum() <= 2  # some lie on one another


def test_bright_carbon_of_an_inverted_micrograph_is_found_too(rng):
    image, _ = field(rng)
    there = film(image.shape, 0.3, "straight", rng)
    image[there] -= 1.5
    assert (find_exclusion(-image, DIAMETER) == there).mean() > 0.97


def test_carbon_of_the_same_grey_level_is_found_by_its_texture(rng):
    image, _ = field(rng)
    there = film(image.shape, 0.2, "straight", rng)
    image += 1.2 * there * rng.standard_normal(image.shape).astype(np.float32)
    excluded = find_exclusion(image, DIAMETER)
    assert excluded[there].mean() > 0.9 and excluded[~there].mean() < 0.06


def test_what_an_edge_cuts_off_goes_with_it(rng):
    """Behind a high-pass only the edge of a film differs in its grey level; its inside holds no particles."""
    image, _ = field(rng, (700, 700))
    y, x = np.indices(image.shape)
    corner = x + y > 1050
    image = np.where(corner, gaussian_filter(rng.standard_normal(image.shape), 1.5) / 0.19 - 3, image)
    image = (image - gaussian_filter(image, 30)).astype(np.float32)
    excluded = find_exclusion(image, DIAMETER)
    inside = x + y > 1150
    assert excluded[inside].mean() > 0.9 and excluded[x + y < 1000].mean() < 0.02


def test_ice_that_thickens_slowly_stays(rng):
    image, _ = field(rng)
    y, x = np.indices(image.shape) / image.shape[0]
    thick = 2.5 * np.square(x - 0.5) + 1.5 * y * x
    assert find_exclusion((image - thick).astype(np.float32), DIAMETER).mean() < 0.01


@pytest.mark.parametrize(("radius", "depth"), [(8, 10), (14, 6), (20, 6)])
def test_beads_cost_little_more_than_their_area(rng, radius, depth):
    image, centres = field(rng)
    y, x = np.indices(image.shape)
    away = np.min([np.hypot(y - cy, x - cx) for cy, cx in rng.uniform(40, 460, (8, 2))], axis=0)
    image[away < radius] -= depth
    excluded = find_exclusion(image, DIAMETER)
    assert excluded[away < radius].mean() > 0.95
    assert excluded.mean() < 1.1 * (away < radius + DIAMETER / 4).mean()
    rows, columns = centres.astype(int).T
    assert not excluded[rows, columns][away[rows, columns] > radius + DIAMETER / 2].any()
