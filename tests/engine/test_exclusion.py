"""Exclusion masks found in micrographs: what is foreign goes, particles stay."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from napari_gempick.engine.exclusion import find_exclusion, padded_borders

DIAMETER = 40


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def field(rng, shape=(500, 560)):
    """Noise with dark particles of the diameter on it."""
    image = gaussian_filter(rng.standard_normal(shape), 1.0) / 0.28
    y, x = np.indices(shape)
    centres = rng.uniform(60, np.array(shape) - 60, (30, 2))
    for cy, cx in centres:
        image -= 0.5 * (np.hypot(y - cy, x - cx) < DIAMETER / 2)
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
