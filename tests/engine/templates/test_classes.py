"""Classes of particles whose kinds and poses are known: no collapse, weak particles, no class without a particle."""

import numpy as np
import pytest

from helpers import Blobs
from napari_gempick.engine.templates.alignment import average_classes, outer_side
from napari_gempick.workflows.average import Averages, average

BOX, PIXEL = 48, 3.0


class Mirrored(Blobs):
    """The same particle in a mirror; no rotation brings the two together."""

    PARTS = tuple((-x, y, width, height) for x, y, width, height in Blobs.PARTS)


def boxes_of(kinds, snr, seed):
    """Particles at random poses in noise, normalised; and which kind each is of."""
    rng = np.random.default_rng(seed)
    side = outer_side(BOX)
    middle = np.hypot(*(np.indices((BOX, BOX)) - BOX // 2)) < BOX / 3
    noise = Blobs.image((BOX, BOX), PIXEL, [(BOX // 2, BOX // 2)])[middle].std() / np.sqrt(snr)
    found = []
    for kind in kinds:
        centre = side // 2 + rng.uniform(-2, 2, 2)
        image = kind.image((side, side), PIXEL, [centre], [rng.uniform(0, 360)])
        image += noise * rng.standard_normal(image.shape).astype(np.float32)
        found.append((image - np.median(image)) / image.std())
    return np.stack(found).astype(np.float32)


def likeness(average):
    """Correlation with the noise-free particle at the best of many poses."""
    middle = np.hypot(*(np.indices((BOX, BOX)) - BOX // 2)) < BOX / 3
    poses = [(psi, x, y) for psi in range(0, 360, 6) for x in range(-2, 3) for y in range(-2, 3)]
    return max(
        float(
            np.corrcoef(Blobs.image((BOX, BOX), PIXEL, [(BOX // 2 + x, BOX // 2 + y)], [psi])[middle], average[middle])[
                0, 1
            ]
        )
        for psi, x, y in poses
    )


@pytest.mark.parametrize("snr", [0.2, 1.0])
def test_a_mirror_pair_splits_into_its_kinds(snr):
    """Also where the kinds come in turn, as when somebody clicks one view after the other."""
    kinds = [Blobs, Mirrored] * 30
    _, poses = average_classes(boxes_of(kinds, snr, 1), BOX, classes=2)
    first = np.array([kind is Blobs for kind in kinds])
    agree = float((poses.label[first] == 0).mean() + (poses.label[~first] == 1).mean()) / 2
    assert max(agree, 1 - agree) >= 0.9
    assert np.bincount(poses.label).min() >= 25


def test_weak_particles_make_an_average_nearly_as_good_as_their_true_poses_would():
    """80 particles at an SNR of 0.1: their mean at the true poses has an SNR of 8."""
    averages, _ = average_classes(boxes_of([Blobs] * 80, 0.1, 3), BOX)
    at_true_poses = np.sqrt(1 / (1 + 1 / (80 * 0.1)))
    assert likeness(averages[0]) > 0.96 * at_true_poses


def test_no_class_is_empty():
    """Four classes of one kind of particle: each has particles and an average, whatever remains to be told apart."""
    averages, poses = average_classes(boxes_of([Blobs] * 9, 2.0, 4), BOX, classes=4)
    assert np.bincount(poses.label, minlength=4).min() >= 1
    assert (np.ptp(averages, axis=(1, 2)) > 0).all() and np.isfinite(averages).all()
    assert (np.diff(np.bincount(poses.label)) <= 0).all()


def test_any_number_of_threads_gives_the_same_bytes(monkeypatch):
    boxes = boxes_of([Blobs] * 10, 0.5, 5)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr("napari_gempick.engine.templates.alignment.usable_cores", lambda count=threads: count)
        averages, poses = average_classes(boxes, BOX, classes=2)
        found.append((averages.tobytes(), poses.psi.tobytes(), poses.shift.tobytes(), poses.label.tobytes()))
    assert found[0] == found[1]


def test_one_particle_is_its_own_average():
    rng = np.random.default_rng(0)
    image = Blobs.image((100, 100), PIXEL, [(52.0, 49.0)]) + 0.01 * rng.standard_normal((100, 100))
    made = average([image], [[(50.0, 50.0)]], BOX)
    assert np.hypot(made.x[0] - 50, made.y[0] - 50) < BOX / 8 * 1.5 and np.isfinite(made.images).all()


def test_a_small_class_is_reported():
    images = np.ones((3, 4, 4), np.float32)
    values = np.zeros(100)
    for sizes, words in (
        ((60, 36, 4), "section 3 (4 of 100 particles)"),
        ((98, 1, 1), "section 2 (1 of 100"),
        ((50, 45, 5), ""),
    ):
        label = np.repeat([0, 1, 2], sizes)
        made = Averages(images, images, label, values, values, values, values, label)
        assert words in " ".join(made.notes()) and bool(made.notes()) == bool(words)
