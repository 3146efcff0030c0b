"""Particles in polar Fourier space against the same particles rendered at other poses."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from helpers import Blobs
from napari_gempick.engine.templates.polar import PolarImages, harmonics, samples

SIDE, RADIUS, LIMIT, COUNT = 108, 32.0, 8.0, 64


def balanced(centre, psi):
    """A lopsided particle with a mean of 0, so that nothing depends on what is beyond the window."""
    y, x = np.indices((SIDE, SIDE))
    image = Blobs.image((SIDE, SIDE), 2.0, [centre], [psi])
    middle = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 162)
    return (image - middle * image.sum() / middle.sum()).astype(np.float32)


@pytest.fixture(scope="module")
def polar():
    images = [balanced((54, 54), 0.0), balanced((54, 54), 40.0), balanced((57, 52), 40.0)]
    with ThreadPoolExecutor(1) as threads:
        return PolarImages(np.stack(images), RADIUS, LIMIT, threads)


def of(polar, number, shift=(0.0, 0.0)):
    rings = len(polar.frequencies)
    return harmonics(polar.samples[number].T * polar.phases(np.array([shift]), rings)[:, 0], COUNT)


def test_a_turn_is_a_phase_and_a_shift_is_taken_back(polar):
    plain, turned = of(polar, 0), of(polar, 1)
    largest = np.abs(plain).max()
    expected = plain * np.exp(-1j * np.radians(40) * np.arange(COUNT))[:, None]
    np.testing.assert_allclose(turned, expected, atol=1e-3 * largest)
    np.testing.assert_allclose(of(polar, 2, (-2.0, 3.0)), turned, atol=1e-3 * largest)
    np.testing.assert_allclose(polar.moved(of(polar, 2), np.array([-2.0, 3.0]), 40.0), plain, atol=1e-3 * largest)


def test_the_way_back_gives_the_image(polar):
    np.testing.assert_allclose(harmonics(samples(of(polar, 2)), COUNT), of(polar, 2), atol=1e-3)
    image, found = balanced((54, 54), 40.0)[22:86, 22:86], polar.image(of(polar, 1), 64)
    inside = np.hypot(*(np.indices(image.shape) - 32)) < RADIUS
    np.testing.assert_allclose(found[inside], image[inside], atol=0.01 * np.ptp(image))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 32, 64])
def test_harmonics_of_a_known_series(count):
    """Sums of waves whose opposite angles are conjugates; the first angle is -90 degrees."""
    random = np.random.default_rng(count)
    known = random.standard_normal((64, 3, 2)) + 1j * random.standard_normal((64, 3, 2))
    known[0] = known[0].real
    angles = np.pi * (np.arange(64) / 64 - 0.5)
    waves = np.exp(1j * np.arange(-63, 64)[:, None] * angles)
    both = np.concatenate([(known * (-1.0) ** np.arange(64)[:, None, None])[:0:-1].conj(), known])
    values = np.tensordot(waves.T, both, 1).astype(np.complex64)
    np.testing.assert_allclose(harmonics(values, count), known[:count], atol=1e-5)


def test_power_is_that_of_the_noise():
    noise = np.random.default_rng(0).normal(0, 3, (40, SIDE, SIDE)).astype(np.float32)
    with ThreadPoolExecutor(2) as threads:
        power = PolarImages(noise, RADIUS, LIMIT, threads).power
    np.testing.assert_allclose(power[2:], 9, rtol=0.15)
    assert power[2:].mean() == pytest.approx(9, rel=0.02)


def test_the_mask_keeps_what_is_inside(polar):
    plain = of(polar, 0)
    rings = len(polar.frequencies)
    kept = np.einsum("mrq,mq->mr", polar.within(RADIUS, rings, COUNT), plain)
    np.testing.assert_allclose(kept, plain, atol=0.02 * np.abs(plain).max())
    small = np.einsum("mrq,mq->mr", polar.within(10.0, rings, COUNT), plain)
    image = polar.image(small, 64)
    distance = np.hypot(*(np.indices(image.shape) - 32))
    assert np.abs(image[distance > 14]).max() < 0.1 * np.abs(image).max()
