"""In-plane symmetry: what is skipped never appears, what is found is the same, and what looks symmetric is proposed."""

import numpy as np
import pytest

from helpers import bank_of, search
from napari_gempick.engine.templates.masks import ShapeMask, in_plane_symmetry
from napari_gempick.model.score_maps import BankIndex


def star(n, size=64, noise=0.0):
    """An n-fold pattern that fades towards the rim, with a bump that makes it n-fold and no more."""
    y, x = np.mgrid[:size, :size] - size // 2
    r, angle = np.hypot(y, x), np.arctan2(-y, x)
    image = np.exp(-((r - 14) ** 2) / 30) * (1 + 0.8 * np.cos(n * angle)) + 0.5 * np.exp(-(r**2) / 60)
    image += noise * np.random.default_rng(0).standard_normal(image.shape)
    return image.astype(np.float32), (r <= 28).astype(np.float32)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 12])
def test_symmetry_is_seen(n):
    image, weights = star(n)
    found, alike = in_plane_symmetry(image, weights)
    assert found == n and alike > 0.97


def test_noise_has_no_symmetry():
    image, weights = star(4, noise=2.0)
    assert in_plane_symmetry(image, weights) == (1, 1.0)
    assert in_plane_symmetry(np.ones_like(image), weights)[0] == 1


def test_numbers_of_what_is_searched():
    index = BankIndex(("side", "top"), (2, 1), 30.0, 360.0, (2, 5))
    ks = np.nonzero(index.searched())[0].astype(np.int32)
    assert ks.tolist() == [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17, 24, 25, 26]
    assert index.psi(ks).max() == 150
    assert BankIndex(("a",), (1,), 30.0, 360.0).searched().all()


def test_skipped_angles_never_appear_and_nothing_is_lost(plans):
    image, _ = star(4, size=61)
    rng = np.random.default_rng(1)
    scene = rng.standard_normal((200, 210)).astype(np.float32)
    for y, x in ((60, 60), (130, 80), (90, 150)):
        scene[y - 30 : y + 31, x - 30 : x + 31] += 3 * image
    other = rng.standard_normal((61, 61))
    mask = ShapeMask("circle", (50.0, 50.0), 0.0)
    names = ("odd", "star")
    whole = search(scene, bank_of([other, image], [mask, mask], step=10, names=names, per_view=(1, 1)), plans)
    fewer_bank = bank_of([other, image], [mask, mask], step=10, names=names, per_view=(1, 1), folds=(1, 4))
    fewer = search(scene, fewer_bank, plans)
    assert fewer.index.max() < 36 + 9 and set(np.unique(fewer.index)) > {-1, 36}
    assert (fewer.score <= whole.score + 1e-6).all()
    peaks = whole.score > 0.4
    assert peaks.sum() > 3 and np.abs(whole.score - fewer.score)[peaks].max() < 0.02
    alone = search(scene, bank_of([image], [mask], step=10), plans)
    quarter = search(scene, bank_of([image], [mask], step=10, full=90), plans)
    folded = search(scene, bank_of([image], [mask], step=10, folds=(4,)), plans)
    assert np.array_equal(folded.score, quarter.score) and np.array_equal(folded.index, quarter.index)
    assert np.abs(alone.score - folded.score)[alone.score > 0.4].max() < 0.02
