"""Projections against analytic ones, and viewing directions against the geometry of the sphere."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_gempick.engine.templates.projection import (
    Projector,
    euler_matrix,
    setting_of_map,
    settings_of,
    shrink,
    symmetry_group,
    viewing_directions,
)
from napari_gempick.engine.templates.sampling import ContinuousImage
from napari_gempick.model.errors import GempickError
from napari_gempick.model.geometry import Extent
from napari_gempick.simulation.scene import Phantom, klh
from napari_gempick.workflows.templates import project_map

BLOBS = Phantom(np.random.default_rng(0).uniform(-60, 60, (6, 3)), 8.0, 1e4)
DIRECTIONS = [(0, 0, 0), (30, 70, 0), (200, 130, 77), (10, 90, -20), (0, 180, 0)]
ORDERS = {"C1": 1, "C4": 4, "D2": 4, "D7": 14, "T": 12, "O": 24, "I": 60}


@pytest.mark.parametrize(("phantom", "n", "spacing"), [(BLOBS, 80, 3.0), (BLOBS, 81, 3.0), (klh(), 112, 5.0)])
def test_gaussians_project_to_gaussians(phantom, n, spacing):
    projector = Projector(phantom.density(n, spacing), spacing)
    for angles in DIRECTIONS:
        exact = phantom.projection(euler_matrix(*angles), (n, n), spacing)
        assert np.abs(projector(*angles) - exact).max() < 2.5e-3 * exact.max()


def test_one_centred_gaussian_is_the_same_from_everywhere():
    projector = Projector(Phantom(np.zeros((1, 3)), 12.0, 1e4).density(64, 3.0), 3.0)
    grid = (np.arange(64) - 32) * 3.0
    exact = 1e4 / (2 * np.pi * 144) * np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / 288)
    for angles in DIRECTIONS:
        assert np.abs(projector(*angles) - exact).max() < 1e-3 * exact.max()


@pytest.mark.parametrize("offset", [(0, 0, 0), (6.0, -9.0, 5.0)])
def test_sphere_projects_to_its_chords(offset):
    n, radius = 72, 18.0
    z, y, x = (np.indices((n, n, n)) - n // 2).astype(np.float32)
    distance = np.sqrt((x - offset[0]) ** 2 + (y - offset[1]) ** 2 + (z - offset[2]) ** 2)
    projector = Projector(np.clip(radius - distance + 0.5, 0, 1), 2.0)
    for angles in DIRECTIONS:
        cx, cy, _ = euler_matrix(*angles) @ offset
        squared = radius**2 - (x[0] - cx) ** 2 - (y[0] - cy) ** 2
        chords = 2.0 * 2 * np.sqrt(np.maximum(squared, 0))
        error = np.abs(projector(*angles) - chords)
        assert error[np.abs(squared) > 3 * radius].max() < 0.02 * chords.max()
        assert error.mean() < 0.003 * chords.max()


def test_psi_turns_counter_clockwise_on_screen():
    projector = Projector(BLOBS.density(80, 3.0), 3.0)
    turned = ContinuousImage(projector(40, 60), 3.0).sample(35, 3.0, Extent(30, 30, 30, 30))
    again = projector(40, 60, 35)[10:71, 10:71]
    assert np.abs(turned - again).max() < 5e-3 * again.max()


def test_opposite_directions_are_mirror_images():
    projector = Projector(BLOBS.density(81, 3.0), 3.0)
    front, back = projector(50, 40), projector(230, 140)
    assert np.abs(front - back[::-1]).max() < 3e-3 * front.max()


def test_background_of_a_map_does_not_show():
    volume = BLOBS.density(80, 3.0)
    plain, raised = (Projector(volume + offset, 3.0)(30, 50) for offset in (0, 7))
    assert np.abs(plain - raised).max() < 1e-3 * plain.max()


def test_shrunken_map_is_the_coarse_map():
    for n, spacing, factor in ((80, 2.5, 2), (81, 2.5, 2), (120, 1.5, 3)):
        small = shrink(BLOBS.density(n, spacing), factor)
        exact = BLOBS.density(small.shape[0], spacing * factor)
        assert np.abs(small - exact).max() < 5e-3 * exact.max()


def vectors(angles):
    rot, tilt = np.radians(angles.T)
    return np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], axis=1)


@pytest.mark.parametrize("symmetry", [*ORDERS, "C2", "C3", "C7", "C12", "D1", "D3", "D5", "D12"])
@pytest.mark.parametrize("step", [15, 20, 30])
def test_asymmetric_unit_is_covered_once(symmetry, step):
    """By brute force: the farthest of many directions on the whole sphere from all copies of the views."""
    group = symmetry_group(symmetry)
    assert len(group) == ORDERS.get(symmetry, len(group))
    views = viewing_directions(group, step)
    fewest = np.ceil(4 * np.pi / np.radians(step) ** 2 / len(group))
    assert fewest <= len(views) <= 1.1 * fewest + 2
    copies = np.concatenate([vectors(views) @ matrix.T for matrix in group.as_matrix()])
    tree = cKDTree(copies)
    somewhere = np.random.default_rng(1).standard_normal((20000, 3))
    somewhere /= np.linalg.norm(somewhere, axis=1, keepdims=True)
    assert np.degrees(2 * np.arcsin(tree.query(somewhere)[0].max() / 2)) < 0.8 * step
    apart = 2 * np.sin(np.radians(0.4 * step) / 2)
    assert all(np.sum(np.linalg.norm(copies - view, axis=1) < apart) <= len(group) for view in vectors(views))


def test_views_by_number():
    for symmetry in ORDERS:
        assert len(viewing_directions(symmetry_group(symmetry), views=7)) == 7
    with pytest.raises(GempickError, match="either"):
        viewing_directions(symmetry_group("C1"))


@pytest.mark.parametrize("symmetry", ["C4", "D2", "D7", "T", "O", "I"])
def test_setting_of_a_map_is_found(symmetry):
    for group in settings_of(symmetry)[:4]:
        unit = np.random.default_rng(2).uniform(-60, 60, (3, 3))
        volume = Phantom(np.concatenate([unit @ m.T for m in group.as_matrix()]), 10.0, 1e4).density(48, 4.0)
        found, fit = setting_of_map(volume, symmetry)
        assert fit > 0.97
        difference = np.abs(found.as_matrix()[:, None] - group.as_matrix()[None]).max(axis=(2, 3))
        assert difference.min(axis=1).max() < 1e-6
        assert setting_of_map(volume, "C11")[1] < fit - 0.1


def test_projected_map_has_masks_and_the_pixel_size_asked_for():
    made = project_map(klh().density(112, 5.0), 5.0, views=3, template_pixel_size=4.0, lowpass=12, invert=True)
    assert made.images.shape == made.masks.shape == (3, 140, 140) and made.pixel_size == 4
    for image, weights, angles in zip(made.images, made.masks, made.angles, strict=True):
        exact = klh().projection(euler_matrix(*angles), (140, 140), 4.0)
        assert np.abs(image + exact).max() < 1e-2 * exact.max()
        assert exact[weights > 0].sum() > 0.95 * exact.sum()
        assert weights.min() == 0 and weights.max() == 1 and np.any((weights > 0) & (weights < 1))
    union = np.any([image < 0.05 * image.min() for image in made.images], axis=0)
    assert (made.masks == made.masks[0]).all() and union.sum() < made.masks[0].sum() < 1.2 * union.sum()
    round_ones = project_map(BLOBS.density(64, 4.0), 4.0, angles=[(0, 90)], mask="circular", diameter=120).masks
    assert round_ones[0].sum() * 16 == pytest.approx(np.pi * 60**2, rel=0.01)


@pytest.mark.parametrize("text", ["E", "C0", "D", "C61", "I3"])
def test_unknown_symmetry_is_one_sentence(text):
    with pytest.raises(GempickError, match="not a known symmetry"):
        symmetry_group(text)
