"""Averages of planted particles: the particle comes back, centred, at the right angles, in the right class."""

import numpy as np
import pytest

from helpers import Blobs
from napari_gempick.engine.templates.alignment import cut_boxes, outer_side
from napari_gempick.model.errors import GempickError
from napari_gempick.workflows.average import average

BOX, PIXEL = 72, 2.0


def planted(count, noise, seed=0, jitter=2.5):
    """A micrograph of Blobs at random angles, clicked with errors; returns image, clicks, centres, psi."""
    rng = np.random.default_rng(seed)
    columns = int(np.ceil(np.sqrt(count)))
    places = np.array([divmod(i, columns) for i in range(count)])[:, ::-1] * 90.0 + 80
    centres = places + rng.uniform(-5, 5, places.shape)
    psi = rng.uniform(0, 360, count)
    image = Blobs.image((90 * columns + 80,) * 2, PIXEL, centres, psi)
    image += noise * rng.standard_normal(image.shape).astype(np.float32)
    return image, centres + rng.uniform(-jitter, jitter, places.shape), centres, psi


def circular_mean(degrees):
    return np.degrees(np.angle(np.exp(1j * np.radians(degrees)).mean()))


def residual(found, psi):
    """Errors of psi about their common offset: an average may lie at any angle."""
    difference = found - psi
    return (difference - circular_mean(difference) + 180) % 360 - 180


@pytest.mark.parametrize("noise", [0.1, 0.6])
def test_ten_clicked_particles_make_a_reference(noise):
    image, clicks, centres, psi = planted(10, noise)
    made = average([image], [clicks], BOX)
    offset = circular_mean(made.psi - psi)
    errors = residual(made.psi, psi)
    assert np.abs(errors).max() < (3 if noise < 0.5 else 6)
    moved = np.stack([made.x, made.y], axis=1) - centres
    # the particle's outline has a centre of its own, the same in the particle's frame for all
    angles = np.radians(psi)
    along = moved[:, 0] * np.cos(angles) - moved[:, 1] * np.sin(angles)
    across = moved[:, 0] * np.sin(angles) + moved[:, 1] * np.cos(angles)
    assert (
        np.hypot(along.std(), across.std()) < (0.4 if noise < 0.5 else 0.8)
        and np.hypot(along.mean(), across.mean()) < 8
    )
    at = BOX // 2 - np.array(
        [
            along.mean() * np.cos(np.radians(-offset)) + across.mean() * np.sin(np.radians(-offset)),
            -along.mean() * np.sin(np.radians(-offset)) + across.mean() * np.cos(np.radians(-offset)),
        ]
    )
    exact = Blobs.image((BOX, BOX), PIXEL, [at], [-offset])
    inside = np.hypot(*(np.indices((BOX, BOX)) - BOX // 2)) < BOX // 2
    left_over = noise / np.sqrt(10)
    best = exact[inside].std() / np.hypot(exact[inside].std(), left_over)
    assert np.corrcoef(made.images[0][inside], exact[inside])[0, 1] > 0.97 * best
    rows, columns = np.nonzero(made.masks[0] > 0.5)
    assert abs(rows.mean() - BOX // 2) < 1.5 and abs(columns.mean() - BOX // 2) < 1.5


def test_given_angles_are_kept():
    image, clicks, _, psi = planted(9, 0.3)
    made = average([image], [clicks], BOX, psi=[psi])
    assert np.abs((made.psi - psi + 180) % 360 - 180).max() < 5


def test_long_particles_lie_along_x_and_none_moves_further_than_allowed():
    """Bars clicked beside their centres: with a short limit they stay where the clicks were, with a long one not."""
    rng = np.random.default_rng(2)
    y, x = np.indices((260, 260))
    clicks, psi = np.array([(60.0, 60.0), (190.0, 62.0), (64.0, 188.0), (192.0, 190.0)]), np.radians([35, 80, 130, 60])
    image = 0.1 * rng.standard_normal(x.shape)
    for (cx, cy), angle in zip(clicks + np.array([5, -4]), psi, strict=True):
        along = (x - cx) * np.cos(angle) - (y - cy) * np.sin(angle)
        across = (x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
        image += (abs(along) < 22) & (abs(across) < 7)
    made = average([image], [clicks], BOX)
    bar = made.images[0] > 0.5 * made.images[0].max()
    assert np.ptp(np.nonzero(bar.any(axis=0))) > 38 and np.ptp(np.nonzero(bar.any(axis=1))) < 20
    turns = (made.psi - np.degrees(psi) + 90) % 180 - 90
    assert np.abs(turns).max() < 4
    moved = np.stack([made.x, made.y], axis=1) - clicks
    assert np.hypot(*(moved - [5, -4]).T).max() < 1.5
    held = average([image], [clicks], BOX, max_shift=1.5)
    assert np.hypot(*(np.stack([held.x, held.y], axis=1) - clicks).T).max() < 4.5


def test_two_kinds_fall_into_two_classes():
    """Lopsided particles and discs, on two micrographs."""
    image, clicks, centres, _ = planted(12, 0.3)
    y, x = np.indices(image.shape)
    discs = sum((np.hypot(x - cx, y - cy) < 14).astype(np.float32) for cx, cy in centres[:8])
    discs += 0.3 * np.random.default_rng(5).standard_normal(image.shape).astype(np.float32)
    made = average([image, discs], [clicks, clicks[:8]], BOX, classes=2)
    assert np.array_equal(made.label, made.micrograph)
    assert made.images.shape == (2, BOX, BOX) and made.score.min() > 0.3


def test_boxes_are_cut_about_the_nearest_pixel():
    image = np.random.default_rng(0).standard_normal((90, 100)).astype(np.float32)
    side = outer_side(16)
    (box,) = cut_boxes(image, np.array([[50.4, 39.6]]), side)
    part = image[40 - side // 2 : 40 - side // 2 + side, 50 - side // 2 : 50 - side // 2 + side]
    assert np.corrcoef(box.ravel(), part.ravel())[0, 1] == pytest.approx(1)


def test_too_few_particles_are_one_sentence():
    image, clicks, _, _ = planted(4, 0.3)
    with pytest.raises(GempickError, match="not enough"):
        average([image], [clicks * 0], BOX)
    with pytest.raises(GempickError, match="not enough for 5 classes"):
        average([image], [clicks], BOX, classes=5)
