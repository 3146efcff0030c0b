"""Particles cut out of a micrograph: slices to the bit, Fourier crops in place, grey levels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import Blobs
from napari_gempick.extraction.cut import background, cut, finish, fits, fourier_crop, touches, without_dust
from napari_gempick.extraction.settings import make_extract_settings


@given(box=st.integers(8, 21), x=st.floats(-3, 44), y=st.floats(-3, 34))
def test_a_particle_is_a_slice_and_beyond_the_edge_its_nearest_pixel(box, x, y):
    image = np.random.default_rng(0).integers(-99, 99, (32, 42)).astype(np.int8)
    (particle,) = cut(image, np.array([x]), np.array([y]), box)
    top, left = int(round(y, 6)) - box // 2, int(round(x, 6)) - box // 2
    wide = np.pad(image, 64, mode="edge")
    np.testing.assert_array_equal(particle, wide[top + 64 : top + 64 + box, left + 64 : left + 64 + box])
    inside = top >= 0 and left >= 0 and top + box <= 32 and left + box <= 42
    assert fits(np.array([x]), np.array([y]), box, (32, 42)).tolist() == [inside]
    assert touches(np.array([x]), np.array([y]), (32, 42)).tolist() == [-0.5 <= x < 41.5 and -0.5 <= y < 31.5]


def centroid(image):
    """Centre of a blob on a flat background, x and y about pixel n // 2."""
    image = image - np.median(image)
    steps = np.arange(len(image)) - len(image) // 2
    return np.array([(image * steps[None, :]).sum(), (image * steps[:, None]).sum()]) / image.sum()


@pytest.mark.parametrize(("box", "side"), [(96, 64), (96, 48), (97, 48), (96, 47), (97, 65), (96, 96), (90, 37)])
def test_a_fourier_crop_keeps_centre_size_and_mean(box, side):
    """What lies on the box's centre pixel, or beside it, lies there in the particle too, for even and odd sides."""
    for x, y in ((60.0, 60.0), (60.4, 59.0), (60.51, 59.99)):
        nyx = (121, 121)
        steps_y, steps_x = np.mgrid[: nyx[0], : nyx[1]]
        width = 7.0
        image = 3 + np.exp(-((steps_x - x) ** 2 + (steps_y - y) ** 2) / (2 * width**2)).astype(np.float32)
        settings = make_extract_settings({"box": box, "rescale": side, "normalize": False})
        (particle,), _ = finish(cut(image, np.array([x]), np.array([y]), box), settings)
        assert particle.shape == (side, side)
        beside = np.array([x - int(x), y - int(y)]) * side / box
        np.testing.assert_allclose(centroid(particle), beside, atol=0.01)
        spread = particle - np.median(particle)
        steps = np.arange(side) - side // 2
        found = np.sqrt((spread * steps[None, :] ** 2).sum() / spread.sum())
        assert found == pytest.approx(width * side / box, rel=5e-3)
        assert particle.mean() == pytest.approx(cut(image, np.array([x]), np.array([y]), box).mean(), rel=1e-4)


def test_a_crop_leaves_what_the_coarser_grid_can_hold():
    """Against the same particle rendered on the coarser grid."""
    fine = Blobs.image((128, 128), 2.0, [(64.0, 64.0)])
    coarse = Blobs.image((64, 64), 4.0, [(32.0, 32.0)])
    np.testing.assert_allclose(fourier_crop(fine, 64), coarse, atol=2e-3)


def test_background_dust_and_sign():
    random = np.random.default_rng(1)
    image = random.normal(50, 4, (100, 100)).astype(np.float32)
    image[50, 50] = 900.0
    x = y = np.array([50.0])
    plain = cut(image, x, y, 64)
    settings = make_extract_settings({"box": 64, "normalize": True, "invert": True, "dust": 5, "background_radius": 20})
    (particle,), dust = finish(plain, settings)
    outside = background(64, 20)
    assert dust == 1
    assert particle[outside].mean() == pytest.approx(0, abs=1e-5)
    assert particle[outside].std() == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(particle[outside], plain[0][outside])[0, 1] == pytest.approx(-1, abs=2e-3)
    assert abs(particle[32, 32]) < 3
    cleaned, count = without_dust(plain[0], 5.0)
    around = np.delete(plain[0][30:35, 30:35].ravel(), 12)
    assert (count, cleaned[32, 32]) == (1, np.median(around).astype(np.float32))
    assert (cleaned != plain[0]).sum() == 1
