"""The simulated particle against closed forms, the CTF against its zeros, and the truth against the pixels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage

from napari_gempick.engine.preprocess.fourier_filters import contrast_transfer, wavelength
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.errors import SettingsError
from napari_gempick.simulation import simulate
from napari_gempick.simulation.scene import DIAMETER, LENGTH, Phantom, klh, orientation
from napari_gempick.simulation.settings import VIEWS, SimulateSettings, make_simulate_settings

PIXEL = 4.4
CLEAN = {"carbon": False, "contaminants": 0, "ice_gradient": 0.0, "wobble": 0.0, "defocus_spread": 0.0, "snr": 1e6}


def settings(**values: object) -> SimulateSettings:
    return make_simulate_settings({"size": "512", "particles": 6, **values})


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


# --- the particle ---------------------------------------------------------------------------------------------------


def gaussian_image(x: float, y: float, sigma: float, shape: tuple[int, int], centre: tuple[float, float]) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    dx, dy = (columns - centre[0]) * PIXEL - x, (rows - centre[1]) * PIXEL - y
    return np.exp(-(dx**2 + dy**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def test_projection_of_an_off_centre_gaussian_is_the_closed_form():
    blob = Phantom(np.array([[40.0, -25.0, 70.0]]), sigma=12.0, weight=3.0)
    shape, centre = (61, 74), (35.25, 31.6)
    upright = blob.projection(orientation(0, 0, 0), shape, PIXEL, centre)
    assert upright == pytest.approx(3 * gaussian_image(40, -25, 12, shape, centre), abs=1e-9)
    on_its_side = blob.projection(orientation(0, 90, 0), shape, PIXEL, centre)  # z goes to x
    assert on_its_side == pytest.approx(3 * gaussian_image(70, -25, 12, shape, centre), abs=1e-9)
    # 30 degrees counter-clockwise on screen, where y points down
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    turned = blob.projection(orientation(0, 0, 30), shape, PIXEL, centre)
    assert turned == pytest.approx(3 * gaussian_image(c * 40 + s * -25, -s * 40 + c * -25, 12, shape, centre), abs=1e-9)


@pytest.mark.parametrize("n", [64, 65])
def test_projections_are_sums_over_the_map(n):
    spacing = 8.8
    volume = klh().density(n, spacing)
    assert volume.dtype == np.float32
    assert volume.min() >= 0
    top = klh().projection(orientation(0, 0, 0), (n, n), spacing)
    side = klh().projection(orientation(0, 90, 0), (n, n), spacing)
    assert volume.sum(axis=0) * spacing == pytest.approx(top, abs=2e-3 * float(top.max()))
    assert volume.sum(axis=2).T * spacing == pytest.approx(side, abs=2e-3 * float(side.max()))  # (z, y) to (y, x = z)


def test_the_particle_has_d5_symmetry_and_the_stated_size():
    volume = klh().density(61, 8.8)
    assert volume[::-1, ::-1, :] == pytest.approx(volume, abs=1e-4)  # two-fold axis along x
    fifth = klh().projection(orientation(72, 40, 10), (120, 120), PIXEL)
    assert fifth == pytest.approx(klh().projection(orientation(0, 40, 10), (120, 120), PIXEL), rel=1e-4, abs=1e-2)
    side = klh().projection(orientation(0, 90, 0), (400, 500), 1.0)
    half = 0.1 * side.max()
    extent_x, extent_y = (np.ptp(np.flatnonzero((side > half).any(axis=axis))) for axis in (0, 1))
    assert extent_x == pytest.approx(LENGTH, abs=15)
    assert extent_y == pytest.approx(DIAMETER, abs=15)


def test_the_side_view_has_six_tiers_and_the_top_view_a_hole():
    side = -simulate.template("side", settings(defocus=1.0, b_factor=0.0))
    tiers = ndimage.gaussian_filter1d(side.sum(axis=0), 3)  # a tier is two bands of domains
    peaks = np.flatnonzero((tiers[1:-1] > tiers[:-2]) & (tiers[1:-1] > tiers[2:]) & (tiers[1:-1] > 0.2 * tiers.max()))
    assert len(peaks) == 6
    top = klh().projection(orientation(0, 0, 0), (101, 101), PIXEL)
    assert top[45:56, 45:56].max() < 0.02 * top.max()


# --- the lens -------------------------------------------------------------------------------------------------------


def test_wavelength_and_interaction_constant_are_the_tabulated_ones():
    assert wavelength(300) == pytest.approx(0.019687, rel=1e-4)
    assert wavelength(120) == pytest.approx(0.033492, rel=1e-4)
    assert simulate.interaction(300) == pytest.approx(6.526e-4, rel=1e-3)
    assert simulate.interaction(100) == pytest.approx(9.244e-4, rel=1e-3)


@pytest.mark.parametrize(("voltage", "defocus", "cs", "amplitude"), [(300, 2.0, 0, 0), (120, 1.5, 2.0, 0.1)])
def test_zeros_of_the_contrast_transfer(voltage, defocus, cs, amplitude):
    length = wavelength(voltage)
    for n in (1, 2, 3):
        # lambda dz q - Cs lambda³ q² / 2 = n - asin(Q) / pi, with q = s²
        a, b, c = 0.5 * cs * 1e7 * length**3, defocus * 1e4 * length, n - math.asin(amplitude) / math.pi
        q = c / b if a == 0 else (b - math.sqrt(b * b - 4 * a * c)) / (2 * a)
        around = np.sqrt(q) * np.array([0.998, 1, 1.002])
        ctf = Ctf(1e4 * defocus, 1e4 * defocus, 0, voltage, cs, amplitude)
        low, zero, high = contrast_transfer(0.0, around, ctf)
        assert abs(zero) < 1e-4
        assert low * high < 0
    assert contrast_transfer(0.0, 0.0, ctf) == pytest.approx(-amplitude)


def test_thon_rings_of_a_micrograph_lie_at_the_zeros():
    made = simulate.simulate_micrograph(
        settings(**CLEAN | {"snr": 1.0}, size="640x480", particles=0, structural_noise=1.0, b_factor=0.0, defocus=3.0),
        0,
    )
    assert made.image.shape == (480, 640)
    window = np.hanning(480)[:, None] * np.hanning(640)[None, :]
    power = np.abs(np.fft.fft2((made.image - 1) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(480, PIXEL)[:, None], np.fft.fftfreq(640, PIXEL)[None, :])
    length = wavelength(300)
    phase = length * 3e4 * radius**2 - 0.5 * 2.7e7 * length**3 * radius**4 + math.asin(0.1) / math.pi
    near = np.abs(phase - np.rint(phase)) < 0.03
    peaks = np.abs(phase - np.rint(phase)) > 0.47
    for ring in range(1, 5):
        band = np.rint(phase) == ring
        assert power[near & band].mean() < 0.06 * power[peaks & (np.floor(phase) == ring)].mean()


# --- micrograph and truth -------------------------------------------------------------------------------------------


def rotated_ccw(image: np.ndarray, psi: float) -> np.ndarray:
    """Rotate by scipy.ndimage.rotate, whose positive angles (axes (1, 0)) turn counter-clockwise with row 0 on top.

    It turns about (n - 1) / 2; the template's centre n // 2 gets there by dropping row 0 and column 0 of an even box.
    """
    dot = np.zeros((9, 9))
    dot[4, 7] = 1  # right of the centre
    assert ndimage.rotate(dot, 90, axes=(1, 0), reshape=False)[1, 4] == pytest.approx(1, abs=1e-6)  # now above it
    assert image.shape[0] % 2 == 0
    return ndimage.rotate(image[1:, 1:], psi, axes=(1, 0), reshape=False, order=3)


@pytest.mark.parametrize(("view", "least"), [("top", 0.995), ("side", 0.85)])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_template_turned_by_psi_lies_on_the_particle(view, least, seed):
    chosen = settings(
        **CLEAN, particles=1, top_fraction=float(view == "top"), ignore_fraction=0, seed=seed, size="300x260"
    )
    made = simulate.simulate_micrograph(chosen, 0)
    (particle,) = made.particles
    assert particle.view == view
    assert 4 < particle.psi % 36 < 32  # the top view is its own mirror image at multiples of 36 degrees
    template = simulate.template(view, chosen)
    inside = ndimage.binary_erosion(rotated_ccw(simulate.mask(view, chosen), particle.psi) > 0.5)
    reach = template.shape[0] // 2 - 1

    def score(psi: float, dx: float = 0.0, dy: float = 0.0) -> float:
        row, column = round(particle.y), round(particle.x)
        turned = ndimage.shift(rotated_ccw(template, psi), (particle.y + dy - row, particle.x + dx - column))
        area = made.image[row - reach : row + reach + 1, column - reach : column + reach + 1]
        return correlation(turned[inside], area[inside])

    here = score(particle.psi)
    assert here > least
    assert here > score(-particle.psi) + 0.02
    for turn in (-6, 6, 90):
        assert here > score(particle.psi + turn)
    if view == "side":  # the symmetry of the particle's average
        assert score(particle.psi + 180) == pytest.approx(here, abs=0.02)
    for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
        assert here > score(particle.psi, dx, dy)


def test_equal_settings_give_equal_micrographs_whatever_was_made_before():
    chosen = settings(count=3, seed=7)
    later = simulate.simulate_micrograph(chosen, 2)
    simulate.simulate_micrograph(chosen, 0)
    again = simulate.simulate_micrograph(settings(count=5, seed=7), 2)
    assert later.image.tobytes() == again.image.tobytes()
    assert later.particles == again.particles
    other = simulate.simulate_micrograph(settings(seed=8), 2)
    assert other.particles != later.particles
    cleaner = simulate.simulate_micrograph(settings(seed=7, contaminants=0, snr=2.0), 2)
    assert cleaner.particles == later.particles  # every ingredient has its own random numbers


def test_truth_lies_inside_and_keeps_its_distance():
    chosen = settings(size="700x560", particles=18, top_fraction=0.4, ignore_fraction=0.1, seed=3, carbon=False)
    made = simulate.simulate_micrograph(chosen, 0)
    assert made.image.shape == (560, 700)
    assert made.image.dtype == np.float32
    assert len(made.particles) == 18
    assert {particle.view for particle in made.particles} == {"side", "top", "ignore"}
    for particle in made.particles:
        assert 0 <= particle.x <= 699
        assert 0 <= particle.y <= 559
        assert 0 <= particle.psi < 360
        if particle.view != "ignore":
            room = min(particle.x, 699 - particle.x, particle.y, 559 - particle.y)
            assert room >= 0.5 * DIAMETER / PIXEL
    for a, b in itertools.combinations(made.particles, 2):
        assert math.hypot(a.x - b.x, a.y - b.y) * PIXEL >= chosen.min_distance


def test_signal_to_noise_ratio_is_the_one_asked_for():
    chosen = settings(snr=0.3, carbon=False, contaminants=0, ice_gradient=0, seed=2)
    noisy = simulate.simulate_micrograph(chosen, 1)
    clean = simulate.simulate_micrograph(chosen.model_copy(update={"snr": 1e9}), 1)
    noise = noisy.image - clean.image
    reference = simulate.template("side", chosen)[simulate.mask("side", chosen) > 0]
    assert reference.var() / noise.var() == pytest.approx(0.3, rel=0.1)
    assert noisy.noise == pytest.approx(noise, abs=1e-4)
    coarse = chosen.model_copy(update={"template_pixel_size": 8.8})
    assert simulate.noise_deviation(coarse) == simulate.noise_deviation(chosen)


def test_particles_and_contaminants_are_dark():
    made = simulate.simulate_micrograph(settings(**CLEAN, seed=1), 0)
    assert -made.signal.min() > 1.3 * made.signal.max()
    for view in VIEWS:
        template = simulate.template(view, settings())
        assert template[simulate.mask(view, settings()) > 0].mean() < template[0, 0]
        assert abs(template[0]).max() < 0.02 * abs(template).max()
    dirty = simulate.simulate_micrograph(settings(**CLEAN | {"contaminants": 2}, particles=0, seed=1), 0)
    assert dirty.image.min() < 0.9


def test_carbon_is_dark_on_every_second_micrograph_and_free_of_particles():
    chosen = settings(**CLEAN | {"carbon": True}, size="700", particles=8, seed=6)
    first, second = (simulate.simulate_micrograph(chosen, index) for index in (0, 1))
    assert first.carbon
    assert not second.carbon
    smooth = ndimage.gaussian_filter(first.image - first.signal, 12)
    film = smooth < 0.95
    assert 0.02 < film.mean() < 0.45
    assert not any(film[round(particle.y), round(particle.x)] for particle in first.particles)
    assert not (ndimage.gaussian_filter(second.image - second.signal, 12) < 0.95).any()


def test_ice_gradient_and_hot_pixels():
    plain = settings(**CLEAN | {"ice_gradient": 600.0}, particles=0)
    made = simulate.simulate_micrograph(plain, 0)
    assert made.image.max() / made.image.min() == pytest.approx(math.exp(600 / simulate.FREE_PATH), rel=0.02)
    hot = simulate.simulate_micrograph(plain.model_copy(update={"hot_pixels": 5}), 0)
    assert 1 <= np.count_nonzero(hot.image > 10) <= 5


def test_too_many_particles_are_refused():
    with pytest.raises(SettingsError, match=r"Only \d+ of 200 particles find room .* lower --particles"):
        simulate.simulate_micrograph(settings(particles=200), 0)


def test_grey_levels_keep_the_image_and_shrug_off_outliers():
    image = np.random.default_rng(0).normal(5, 0.1, (200, 200)).astype(np.float32)
    image[3, 4] = 1e6
    grey, middle, step = simulate.grey_levels(image)
    assert grey.dtype == np.int8
    assert grey[3, 4] == 127
    image[3, 4] = grey[3, 4] * step + middle
    assert grey * step + middle == pytest.approx(image, abs=0.51 * step)
    assert step == pytest.approx(0.1 / 20, rel=0.02)
